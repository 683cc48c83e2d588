"""The server's clock is set, forward or back, in mid-life."""

import time
from dataclasses import dataclass
from datetime import timedelta

import anyio

from tests.faults.blows.outage import SHORTEST, drawn
from tests.faults.clock import Clock
from tests.faults.fault import NotStruck
from tests.faults.field import Field
from tests.integration.schema.world import World

_CLOSE_ENOUGH_S = 1.0


@dataclass(frozen=True, slots=True)
class ClockStepped:
    """The field's server must run on this clock; see `server_with_a_clock`."""

    clock: Clock
    longest: timedelta = timedelta(seconds=2)
    shortest: timedelta = SHORTEST
    longest_step: timedelta = timedelta(seconds=20)
    holds_locks: bool = True
    name: str = "clock stepped"

    async def strike(self, field: Field) -> str:
        """Set it, and set it back after a while; the proof is the time that the server tells."""
        furthest = self.longest_step.total_seconds()
        step = field.chance.choice((-1, 1)) * field.chance.uniform(2 * _CLOSE_ENOUGH_S, furthest)
        before = await field.ask(_ahead_s)
        try:
            self.clock.set(ahead=timedelta(seconds=step))
            stepped = await field.ask(_ahead_s) - before
            await anyio.sleep(drawn(field, self.longest, self.shortest))  # the wrong time itself
        finally:
            self.clock.set(ahead=timedelta(0))
        if abs(stepped - step) > _CLOSE_ENOUGH_S:
            raise NotStruck(f"the server's clock moved by {stepped:.1f} s, not {step:.1f} s")
        return f"the server's clock was {stepped:+.1f} s ahead"


async def _ahead_s(world: World) -> float:
    """How far the server's clock is ahead of ours."""
    told = float(await world.value("select extract(epoch from clock_timestamp())::float8"))
    return told - time.time()
