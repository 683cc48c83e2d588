"""One server process is killed with SIGKILL: PostgreSQL ends all the others, and recovers."""

import os
import signal
from dataclasses import dataclass

from tests.faults.blows.sessions import sessions_of
from tests.faults.fault import NotStruck
from tests.faults.field import Field
from tests.integration.schema.world import World
from tests.support.waiting import eventually


@dataclass(frozen=True, slots=True)
class SessionKilled:
    """As the kernel does it when memory runs out. It mends itself, with the same postmaster."""

    holds_locks: bool = False
    name: str = "session killed"

    async def strike(self, field: Field) -> str:
        """Kill it and await the recovery; the proof is what the server's log says of it."""
        sessions = await field.ask(sessions_of)
        if not sessions:
            raise NotStruck("nobody was connected")
        victim = field.chance.choice(sessions)
        told = f"(PID {victim.pid}) was terminated by signal 9"
        try:
            os.kill(victim.pid, signal.SIGKILL)
        except ProcessLookupError:
            raise NotStruck(f"{victim} had gone already") from None

        async def is_told() -> bool:
            return told in field.server.log.read_text(errors="replace")

        await eventually(is_told)
        await field.ask(_answers)
        return f"killed {victim}; the log: {told}"


async def _answers(world: World) -> bool:
    return bool(await world.value("select true"))
