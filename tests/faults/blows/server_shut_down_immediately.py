"""An immediate shutdown: the backends break off, and the next start recovers as after a crash."""

import os
import signal
from dataclasses import dataclass
from datetime import timedelta

from tests.faults.blows.outage import SHORTEST, drawn, outage
from tests.faults.field import Field


@dataclass(frozen=True, slots=True)
class ServerShutDownImmediately:
    """As `pg_ctl stop -m immediate` does it."""

    longest: timedelta = timedelta(seconds=2)
    shortest: timedelta = SHORTEST
    holds_locks: bool = False
    name: str = "server shut down, immediately"

    async def strike(self, field: Field) -> str:
        """Shut it down, let it be away, start it; the proof is a postmaster with another pid."""
        return await outage(field, drawn(field, self.longest, self.shortest), _shut_down)


async def _shut_down(postmaster: int) -> None:
    os.kill(postmaster, signal.SIGQUIT)
