"""An agent of the SDK that tells what it lives through, a JSON line each: `… DSN NAME BEAT WORK`.

It beats every BEAT seconds, answers to the role `worker`, and works for WORK seconds at each
handoff. The lines have the form of a log, so that a `RunningProcess` can wait for them.
"""

import json
import sys
import time
from datetime import timedelta

import anyio

from coordinator.agents import Agent, HeldHandoff, LeaseLost, print_error


def tell(event: str, handoff: HeldHandoff | None = None, **more: float) -> None:
    """Write a line."""
    token = {"handoff_id": str(handoff.id), "attempt": handoff.attempt} if handoff else {}
    sys.stdout.write(json.dumps({"event": event, "at": time.time(), **token, **more}) + "\n")
    sys.stdout.flush()


def tell_of_error(handoff: HeldHandoff, error: Exception) -> None:
    """Tell a lost lease apart from trouble."""
    if isinstance(error, LeaseLost):
        tell("lease.lost", handoff)
    else:
        print_error(handoff, error)


async def main(dsn: str, name: str, beat_s: float, work_s: float) -> None:
    """Work for ever."""

    async def work(handoff: HeldHandoff) -> dict[str, str]:
        tell("body.begun", handoff)
        try:
            await anyio.sleep(work_s)  # the work itself
        except anyio.get_cancelled_exc_class():
            tell("body.stopped", handoff)
            raise
        tell("body.ended", handoff)
        return {"by": name}

    began = time.monotonic()
    async with Agent.connect(
        dsn,
        name,
        roles=["worker"],
        heartbeat_interval=timedelta(seconds=beat_s),
        on_error=tell_of_error,
    ) as agent:
        tell("agent.ready", after_s=time.monotonic() - began)
        await agent.run(work)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
