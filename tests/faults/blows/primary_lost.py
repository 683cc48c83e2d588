"""The primary's machine is lost: Patroni and PostgreSQL end at once, without a word."""

from dataclasses import dataclass
from datetime import timedelta

import anyio

from tests.faults.blows.outage import drawn
from tests.faults.field import Field
from tests.support.patroni import TAKEN_OVER_WITHIN, PatroniCluster
from tests.support.waiting import eventually


@dataclass(frozen=True, slots=True)
class PrimaryLost:
    """The standby takes over when Patroni's lock has expired; the lost one comes back after it."""

    cluster: PatroniCluster
    longest: timedelta = timedelta(seconds=2)
    name: str = "primary lost"
    holds_locks: bool = False

    async def strike(self, field: Field) -> str:
        """Lose it, let the other take over, bring it back; the proof is who leads in the end."""
        old = await self.cluster.healthy()
        new = self.cluster.other(old)
        try:
            old.kill()
            await eventually(lambda: new.says("/primary"), within=TAKEN_OVER_WITHIN)
            await anyio.sleep(drawn(field, self.longest))  # its absence
        finally:
            with anyio.CancelScope(shield=True):
                await old.launch()
                leads = await self.cluster.healthy()
        assert leads is new, f"{leads.name} leads"
        return f"{old.name} was lost, {new.name} took over, {old.name} follows it"
