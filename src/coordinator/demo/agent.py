"""One of the demo's agents, as a process of its own: `python -m coordinator.demo.agent PART`.

SIGTERM makes it leave in good order; anything else ends it at once.
"""

import signal
import sys

import anyio

from coordinator.agents import Agent, HeldHandoff
from coordinator.demo.part import Part
from coordinator.demo.telling import Narrator
from coordinator.demo.work import Work, work_on


async def play(part: Part) -> None:
    """Register, and work on what comes, until SIGTERM."""
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_work, part)
            async for _ in signals:
                tasks.cancel_scope.cancel()


async def _work(part: Part) -> None:
    narrator = Narrator(sys.stdout, as_json=part.as_json, color=part.color)
    async with Agent.connect(
        part.dsn, part.name, roles=[part.role], heartbeat_interval=part.heartbeat_interval
    ) as agent:
        async for handoff in agent.handoffs():
            async with handoff:
                narrator.speak(part.name, f"{handoff.task_description} (attempt {handoff.attempt})")
                work = await work_on(part.role, handoff.context)
                await _show(work, handoff, part, narrator)
                handoff.succeed(work.result, then=work.follow_ups)


async def _show(work: Work, handoff: HeldHandoff, part: Part, narrator: Narrator) -> None:
    for number, step in enumerate(work.steps, start=1):
        narrator.speak(part.name, f"  {step}")
        await handoff.report_progress(f"step {number} of {len(work.steps)}")
        if part.stops_halfway:
            await anyio.sleep_forever()
        await anyio.sleep(part.pace.total_seconds())


if __name__ == "__main__":
    # What ends us when the demo has been killed; a goodbye to a dead server would take long.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    anyio.run(play, Part.model_validate_json(sys.argv[1]))
