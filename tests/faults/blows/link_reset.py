"""All connections of a host are reset: each end is told at once, by an RST."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.fault import NotStruck
from tests.faults.field import Field
from tests.support.network import Host


@dataclass(frozen=True, slots=True)
class LinkReset:
    """As a firewall does it that rejects. It mends itself: new connections pass."""

    hosts: Sequence[Host]
    """One of them is drawn."""
    name: str = "link reset"
    holds_locks: bool = False

    async def strike(self, field: Field) -> str:
        """Reset them; the proof is how many the kernel has destroyed."""
        host = field.chance.choice(self.hosts)
        count = host.reset()
        if not count:
            raise NotStruck(f"{host.address} had no connection")
        return f"{count} connections of {host.address} reset"
