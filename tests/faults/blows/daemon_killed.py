"""A daemon is killed with SIGKILL; the next one is started some time later."""

from dataclasses import dataclass

from tests.faults.blows.members import another_life, leads, one_of
from tests.faults.field import Field


@dataclass(frozen=True, slots=True)
class DaemonKilled:
    """Whatever it was about: leading or standing by."""

    holds_locks: bool = False
    name: str = "daemon killed"

    async def strike(self, field: Field) -> str:
        """Kill one, and await its next life; the proof is another pid."""
        victim, pid = one_of(field, field.daemons)
        what = "leading" if leads(victim) else "standing by"
        victim.kill()
        return f"{victim.name} {pid}, {what}, killed; now {await another_life(victim, pid)}"
