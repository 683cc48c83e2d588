"""An operator lets the standby take over: `patronictl switchover`."""

from dataclasses import dataclass

from tests.faults.field import Field
from tests.support.patroni import PatroniCluster


@dataclass(frozen=True, slots=True)
class Switchover:
    """The old primary is shut down in good order, and comes back as the standby."""

    cluster: PatroniCluster
    name: str = "switchover"
    holds_locks: bool = False

    async def strike(self, field: Field) -> str:
        """Switch over, and wait until both nodes are well; the proof is who leads."""
        old = await self.cluster.healthy()
        new = await self.cluster.switchover()
        assert await self.cluster.healthy() is new
        return f"{old.name} gave way to {new.name}"
