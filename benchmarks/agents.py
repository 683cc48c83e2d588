"""Our agents for a benchmark, in a process of their own: `python -m benchmarks.agents`.

    DSN FIRST AGENTS EXPECTED

Agents `bench-FIRST` and so on stand on one AgentHost, do nothing with what they are given, and say
{"ready": true}; once so many handlers were entered, they say what a peer's program says. See
benchmarks/peers/telling.py.
"""

import sys

import anyio
import uvloop

from benchmarks.peers.telling import Entries, say
from coordinator.agents import AgentHost, HeldHandoff


def name_of(number: int) -> str:
    """Name an agent by its number."""
    return f"bench-{number}"


async def serve(dsn: str, first: int, agents: int, expected: int) -> None:
    """Work until SIGTERM, which ends it without a word: a thousand goodbyes are not measured."""
    entries = Entries(expected)
    ready = anyio.Semaphore(0, max_value=agents)

    async def rest(handoff: HeldHandoff) -> None:
        entries.note(handoff.context)

    async def work(host: AgentHost, name: str) -> None:
        async with host.agent(name) as agent:
            ready.release()
            await agent.run(rest)

    async with AgentHost.connect(dsn) as host, anyio.create_task_group() as tasks:
        for number in range(first, first + agents):
            tasks.start_soon(work, host, name_of(number))
        for _ in range(agents):
            await ready.acquire()
        say({"ready": True})


def main() -> None:
    """Serve as the command line says."""
    dsn, *numbers = sys.argv[1:]
    uvloop.run(serve(dsn, *map(int, numbers)))


if __name__ == "__main__":
    main()
