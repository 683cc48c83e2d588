"""An agent with the SDK, in its shortest form: a function from a handoff to its result.

Usage: DATABASE_URL=postgresql://… python reviewer.py [how many handoffs to do before leaving]
"""

import asyncio
import os
import sys

from coordinator.agents import Agent, GiveUp, HeldHandoff


def review(handoff: HeldHandoff) -> dict[str, str]:
    text = handoff.context.get("text")
    if text is None:
        raise GiveUp("there is no text to review")
    return {"verdict": "fine" if text.isupper() else "too quiet", "for": handoff.from_agent}


async def main(todo: int) -> None:
    async with Agent.connect(os.environ["DATABASE_URL"], "rae", roles=["reviewer"]) as agent:
        done = 0

        async def answer(handoff: HeldHandoff) -> dict[str, str]:
            nonlocal done
            done += 1
            if done == todo:
                agent.stop()
            return review(handoff)

        await agent.run(answer)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else -1))
