"""An agent of the SDK, as a program of its own: `python worker.py DSN NAME`, until it is killed.

It answers to the role `worker`. A task of several steps is handed on, one step less, together with
its own completion: so a lost or doubled completion shows in the length of the chain.
"""

import random
import sys
from datetime import timedelta

import anyio

from coordinator.agents import Agent, HeldHandoff, NewHandoff


async def work(handoff: HeldHandoff) -> None:
    """Take a moment for one step, and hand on the others."""
    await anyio.sleep(random.uniform(0, 0.05))  # the work itself
    steps = handoff.context["steps"]
    rest = (
        [
            NewHandoff(
                to_agent="worker",
                task_description="the next step",
                context={"steps": steps - 1},
                max_attempts=handoff.row.max_attempts,
            )
        ]
        if steps > 1
        else []
    )
    handoff.succeed({"steps": steps}, then=rest)


async def main(dsn: str, name: str) -> None:
    """Work under this name for ever."""
    async with Agent.connect(
        dsn, name, roles=["worker"], heartbeat_interval=timedelta(milliseconds=300)
    ) as agent:
        await agent.run(work)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
