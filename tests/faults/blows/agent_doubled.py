"""A second process begins under the names of one that runs; the older one must give way."""

from dataclasses import dataclass
from datetime import timedelta

from tests.faults.blows.members import another_life, one_of
from tests.faults.fault import NotStruck
from tests.faults.field import Field
from tests.support.processes import RunningProcess

_GIVES_WAY_WITHIN = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class AgentDoubled:
    """Of agents of the SDK: one that speaks plain SQL has no life of its own to be told apart by.

    The field starts the older one anew once it has ended, and so the double has to give way, too.
    """

    of: str = "sdk_agents"
    """How the names of their processes begin."""
    holds_locks: bool = False
    name: str = "agent doubled"

    async def strike(self, field: Field) -> str:
        """Double one, and await both ends; the proof is that each ended by itself, in order."""
        victim, pid = one_of(field, [one for one in field.agents if one.name.startswith(self.of)])
        older = victim.process
        if older is None:
            raise NotStruck(f"{victim.name} had gone already")
        async with victim.spawn() as double:
            code = await _given_way(older)
            newer = await another_life(victim, pid)
            code_of_double = await _given_way(double)
        return (
            f"{victim.name} {pid} gave way to {double.pid} ({code}),"
            f" which gave way to {newer} ({code_of_double})"
        )


async def _given_way(process: RunningProcess) -> int:
    return await process.wait(within=_GIVES_WAY_WITHIN)
