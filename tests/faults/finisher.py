"""An agent of the SDK that completes all it is given, as a program: `python finisher.py DSN NAME`.

Where the task says `fail once`, the first attempt fails, and is tried again.
"""

import sys
from datetime import timedelta

import anyio

from coordinator.agents import Agent, HeldHandoff


async def work(handoff: HeldHandoff) -> None:
    """Do as the task says."""
    if handoff.task_description == "fail once" and handoff.attempt == 1:
        handoff.fail("as I was told")
    else:
        handoff.succeed()


async def main(dsn: str, name: str) -> None:
    """Work under this name for ever."""
    async with Agent.connect(dsn, name, heartbeat_interval=timedelta(milliseconds=250)) as agent:
        await agent.run(work)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
