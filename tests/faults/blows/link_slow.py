"""A host's link is slow, uneven and lossy for a while."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import anyio

from tests.faults.blows.outage import SHORTEST, drawn
from tests.faults.fault import NotStruck
from tests.faults.field import Field
from tests.support.network import Host, Weather


@dataclass(frozen=True, slots=True)
class LinkSlow:
    """A link to the other side of the world, on a bad day."""

    hosts: Sequence[Host]
    """One of them is drawn."""
    longest: timedelta = timedelta(seconds=5)
    shortest: timedelta = SHORTEST
    longest_delay_s: float = 0.12
    most_loss: float = 0.05
    name: str = "link slow"
    holds_locks: bool = False

    async def strike(self, field: Field) -> str:
        """Slow it down, and let go; the proof is how many packets were held up."""
        host = field.chance.choice(self.hosts)
        delay_s = field.chance.uniform(0.01, self.longest_delay_s)
        loss = field.chance.uniform(0, self.most_loss)
        slow = Weather(loss=loss, delay_s=delay_s, jitter_s=delay_s / 5)
        before = host.slowed
        with host.under(sends=slow, hears=Weather(loss=loss)):
            await anyio.sleep(drawn(field, self.longest, self.shortest))  # the bad day itself
        slowed = host.slowed - before
        if not slowed:
            raise NotStruck("nobody sent anything")
        return (
            f"{slowed} packets of {host.address} {delay_s * 1000:.0f} ms late, {loss:.1%} of them"
            " lost"
        )
