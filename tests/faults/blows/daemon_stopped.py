"""A daemon stands still for longer than its lease, with its sockets and its lock, and goes on."""

from dataclasses import dataclass
from datetime import timedelta

import anyio

from tests.faults.blows.members import leads, one_of, standstill
from tests.faults.blows.outage import drawn
from tests.faults.field import Field
from tests.integration.schema.world import World


@dataclass(frozen=True, slots=True)
class DaemonStopped:
    """The leader, if one can be told. A laptop that sleeps, a virtual machine that is moved."""

    longest: timedelta = timedelta(seconds=6)
    shortest: timedelta = timedelta(seconds=3)
    """Longer than `leader_stale_after` and two looks of a standby."""
    holds_locks: bool = False
    name: str = "daemon stopped"

    async def strike(self, field: Field) -> str:
        """Stop it, let it continue; the proof is the kernel's word, and who led in between."""
        leaders = [member for member in field.daemons if leads(member)]
        victim, pid = one_of(field, leaders or field.daemons)
        lasting = drawn(field, self.longest, self.shortest)
        before = await field.ask(_term)
        async with standstill(victim, pid):
            await anyio.sleep(lasting)  # the standstill itself
        after = await field.ask(_term)
        return f"{victim.name} {pid} stopped for {lasting:.2f} s; term {before} became {after}"


async def _term(world: World) -> int:
    return int(await world.value("select term from coordination.leadership"))
