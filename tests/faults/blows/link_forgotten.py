"""A firewall loses its table: connections that stand go silent for ever, and new ones pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import anyio

from tests.faults.blows.outage import SHORTEST, drawn
from tests.faults.blows.silence import what_vanished_has_gone
from tests.faults.fault import NotStruck
from tests.faults.field import Field
from tests.support.network import Host


@dataclass(frozen=True, slots=True)
class LinkForgotten:
    """Nothing is mended but by whoever notices, and connects anew."""

    hosts: Sequence[Host]
    """One of them is drawn."""
    longest: timedelta = timedelta(seconds=8)
    shortest: timedelta = SHORTEST
    name: str = "link forgotten"
    holds_locks: bool = True

    async def strike(self, field: Field) -> str:
        """Forget its connections of now, and wait; the proof is how many packets were lost."""
        host = field.chance.choice(self.hosts)
        before = host.lost
        flows = host.forget()
        lasting = drawn(field, self.longest, self.shortest)
        await anyio.sleep(lasting)  # the silence itself
        await what_vanished_has_gone(field)
        lost = host.lost - before
        if not lost:
            raise NotStruck(f"none of {len(flows)} connections sent anything in {lasting:.2f} s")
        return f"{host.address} forgotten: {lost} packets lost in {lasting:.2f} s"
