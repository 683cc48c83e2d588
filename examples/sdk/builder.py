"""An agent with the SDK: it builds, reports progress, and hands the review on.

Usage: DATABASE_URL=postgresql://… python builder.py [how many handoffs to do before leaving]
"""

import asyncio
import os
import sys

from coordinator.agents import Agent, LeaseLost, NewHandoff


async def main(todo: int) -> None:
    async with Agent.connect(os.environ["DATABASE_URL"], "ada", roles=["builder"]) as agent:
        async for handoff in agent.handoffs():
            try:
                async with handoff:
                    await handoff.report_progress("building", percent=50)
                    built = {"text": handoff.task_description.upper()}
                    review = NewHandoff(
                        to_agent="reviewer", task_description="review it", context=built
                    )
                    handoff.succeed(built, then=[review])
            except LeaseLost as lost:
                print(f"somebody else has it by now: {lost}", file=sys.stderr)
            todo -= 1
            if todo == 0:
                break


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else -1))
