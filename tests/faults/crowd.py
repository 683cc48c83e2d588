"""Many agents of the SDK in one process: `python crowd.py DSN NAME HOSTS AGENTS BEAT`.

So many hosts, each on a connection of its own and with so many agents, beat every BEAT seconds,
answer to the role `worker`, and complete at once what they are given. Once all agents of a host are
registered, a line in the form of a log says so.
"""

import json
import sys
from datetime import timedelta

import anyio
from anyio.abc import TaskStatus

from coordinator.agents import AgentHost, HeldHandoff


async def work(handoff: HeldHandoff) -> None:
    """Do nothing, well."""
    handoff.succeed()


async def one(host: AgentHost, name: str, *, task_status: TaskStatus[None]) -> None:
    """Work under this name for ever."""
    async with host.agent(name, roles=["worker"]) as agent:
        task_status.started()
        await agent.run(work)


async def main(dsn: str, name: str, hosts: int, agents: int, beat: timedelta) -> None:
    """Run them all for ever."""
    async with anyio.create_task_group() as crowd:
        for nth in range(hosts):
            crowd.start_soon(_host, dsn, f"{name}-{nth}", agents, beat)


async def _host(dsn: str, name: str, agents: int, beat: timedelta) -> None:
    async with (
        AgentHost.connect(dsn, heartbeat_interval=beat, application_name=name) as host,
        anyio.create_task_group() as crowd,
    ):
        for nth in range(agents):
            await crowd.start(one, host, f"{name}-{nth}")
        sys.stdout.write(json.dumps({"event": "host.ready"}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(
        main,
        sys.argv[1],
        sys.argv[2],
        int(sys.argv[3]),
        int(sys.argv[4]),
        timedelta(seconds=float(sys.argv[5])),
    )
