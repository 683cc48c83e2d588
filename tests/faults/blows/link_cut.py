"""A host's link is cut in silence, in both directions or in one; nobody is told, at either end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import anyio

from tests.faults.blows.outage import SHORTEST, drawn
from tests.faults.blows.silence import what_vanished_has_gone
from tests.faults.fault import NotStruck
from tests.faults.field import Field
from tests.support.network import FINE, SILENT, Host, Weather

WAYS = (
    ("both ways", SILENT, SILENT),
    ("from it", SILENT, FINE),
    ("to it", FINE, SILENT),
)


@dataclass(frozen=True, slots=True)
class LinkCut:
    """A cable pulled, a switch that died: what is short heals by itself, what is long must end."""

    hosts: Sequence[Host]
    """One of them is drawn."""
    longest: timedelta = timedelta(seconds=8)
    shortest: timedelta = SHORTEST
    ways: Sequence[tuple[str, Weather, Weather]] = WAYS
    name: str = "link cut"
    holds_locks: bool = True

    async def strike(self, field: Field) -> str:
        """Cut it, and join it again; the proof is how many packets were lost."""
        host = field.chance.choice(self.hosts)
        way, sends, hears = field.chance.choice(self.ways)
        before = host.lost
        lasting = drawn(field, self.longest, self.shortest)
        with host.under(sends=sends, hears=hears):
            await anyio.sleep(lasting)  # the cut itself
        await what_vanished_has_gone(field)
        lost = host.lost - before
        if not lost:
            raise NotStruck(f"nobody sent anything in {lasting:.2f} s")
        return f"{host.address} cut {way} for {lasting:.2f} s: {lost} packets lost"
