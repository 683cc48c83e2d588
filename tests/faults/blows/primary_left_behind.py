"""The primary's Patroni is gone: the standby takes over, and the old primary does not know."""

import os
import signal
from dataclasses import dataclass
from datetime import timedelta

import anyio

from tests.faults.blows.outage import drawn
from tests.faults.fault import NotStruck
from tests.faults.field import Field
from tests.support.patroni import TAKEN_OVER_WITHIN, PatroniCluster
from tests.support.waiting import eventually


@dataclass(frozen=True, slots=True)
class PrimaryLeftBehind:
    """For a while two servers take writes; on the old one no commit ends, for want of a standby.

    Patroni is killed, not stopped: 3.0.2, once it goes on, may take the lock from the new primary.
    """

    cluster: PatroniCluster
    longest: timedelta = timedelta(seconds=2)
    name: str = "primary left behind"
    holds_locks: bool = True

    async def strike(self, field: Field) -> str:
        """Kill Patroni, let the other take over, begin anew; the proof is that both took writes."""
        old = await self.cluster.healthy()
        new = self.cluster.other(old)
        patroni = old.patroni
        if patroni is None:
            raise NotStruck(f"{old.name} had no Patroni")
        try:
            os.kill(patroni, signal.SIGKILL)
            await eventually(lambda: new.says("/primary"), within=TAKEN_OVER_WITHIN)
            await eventually(new.takes_writes)
            # Two of them, for at least half the longest time.
            await anyio.sleep(drawn(field, self.longest / 2) + self.longest.total_seconds() / 2)
            both = await old.takes_writes()
        finally:
            with anyio.CancelScope(shield=True):
                await old.launch()
                leads = await self.cluster.healthy()
        assert leads is new, f"{leads.name} leads"
        if not both:
            raise NotStruck(f"{old.name} had stepped down before {new.name} took over")
        return f"{old.name} was a primary still when {new.name} took over, and follows it now"
