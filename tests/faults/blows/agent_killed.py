"""A process of agents is killed with SIGKILL, in the middle of its work; another one begins."""

from dataclasses import dataclass

from tests.faults.blows.members import another_life, one_of
from tests.faults.field import Field


@dataclass(frozen=True, slots=True)
class AgentKilled:
    """Agents of the SDK come back as new lives, those in plain SQL as the same ones."""

    holds_locks: bool = False
    name: str = "agent killed"

    async def strike(self, field: Field) -> str:
        """Kill one, and await its next life; the proof is another pid."""
        victim, pid = one_of(field, field.agents)
        victim.kill()
        return f"{victim.name} {pid} killed; now {await another_life(victim, pid)}"
