"""The postmaster is killed with SIGKILL, and started anew: crash recovery, no word of goodbye."""

import os
import signal
from dataclasses import dataclass
from datetime import timedelta

from tests.faults.blows.outage import SHORTEST, drawn, outage
from tests.faults.field import Field


@dataclass(frozen=True, slots=True)
class ServerKilled:
    """Its backends see the end of the postmaster for themselves, each when it next waits."""

    longest: timedelta = timedelta(seconds=2)
    shortest: timedelta = SHORTEST
    holds_locks: bool = False
    name: str = "server killed"

    async def strike(self, field: Field) -> str:
        """Kill it, let it be away, start it; the proof is a postmaster with another pid."""
        return await outage(field, drawn(field, self.longest, self.shortest), _kill)


async def _kill(postmaster: int) -> None:
    os.kill(postmaster, signal.SIGKILL)
