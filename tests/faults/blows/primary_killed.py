"""The primary's postmaster is killed with SIGKILL; its Patroni lives."""

import os
import signal
from dataclasses import dataclass

from tests.faults.fault import NotStruck
from tests.faults.field import Field
from tests.support.patroni import TAKEN_OVER_WITHIN, PatroniCluster
from tests.support.waiting import eventually


@dataclass(frozen=True, slots=True)
class PrimaryKilled:
    """With `primary_start_timeout: 0` Patroni starts nothing anew: the standby takes over."""

    cluster: PatroniCluster
    name: str = "primary killed"
    holds_locks: bool = False

    async def strike(self, field: Field) -> str:
        """Kill it, and wait until both nodes are well; the proof is who leads in the end."""
        old = await self.cluster.healthy()
        new = self.cluster.other(old)
        postmaster = old.postmaster
        if postmaster is None:
            raise NotStruck(f"{old.name} had no postmaster")
        os.kill(postmaster, signal.SIGKILL)
        await eventually(lambda: new.says("/primary"), within=TAKEN_OVER_WITHIN)
        assert await self.cluster.healthy() is new
        return f"postmaster {postmaster} of {old.name} was killed, {new.name} took over"
