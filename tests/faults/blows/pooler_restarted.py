"""The pooler in front of the server ends, however, and is started again."""

import signal
from dataclasses import dataclass
from datetime import timedelta

import anyio

from tests.faults.blows.outage import SHORTEST, drawn
from tests.faults.fault import NotStruck
from tests.faults.field import Field
from tests.support.pooler import Pooler

_ENDS = (signal.SIGKILL, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class PoolerRestarted:
    """Every session through it ends at once, while the server itself goes on."""

    pooler: Pooler
    longest: timedelta = timedelta(seconds=2)
    shortest: timedelta = SHORTEST
    name: str = "pooler restarted"
    holds_locks: bool = False

    async def strike(self, field: Field) -> str:
        """End it, let it be away, start it; the proof is a process with another pid."""
        before = self.pooler.pid
        if before is None:
            raise NotStruck("no pooler was running")
        sign = field.chance.choice(_ENDS)
        try:
            await self.pooler.stop(sign)
            await anyio.sleep(drawn(field, self.longest, self.shortest))  # its absence
        finally:
            with anyio.CancelScope(shield=True):
                await self.pooler.stop()
                await self.pooler.launch()
        return f"pooler {before} ended by {sign.name}, then {self.pooler.pid}"
