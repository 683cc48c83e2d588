"""The sweep loop: block the silent, take back what lapsed, end what is overdue.

Each pass begins with one look, which renews the reign and says what there is to do; in quiet times
it is the only statement. Verdicts that rest on silence wait while an amnesty is in force.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import anyio

from coordinator.core.amnesty import Amnesty, Ruling
from coordinator.core.errors import RequestRefused
from coordinator.core.events import AmnestyEnded, AmnestyGranted, PassFailed
from coordinator.daemon.parts import LeadershipGone, Parts, grace
from coordinator.store import passes
from coordinator.store.connection import Connection, Statements
from coordinator.store.passes import Limits, Look, Reign

Sweep = Callable[[Statements, Limits], Awaitable[int]]
_FAILED_PAUSE_S = 0.2


async def keep_sweeping(parts: Parts, connection: Connection, reign: Reign, *, reason: str) -> None:
    """Sweep until drained; `reason` is why the reign begins with an amnesty.

    Raises StoreUnavailable when the connection is lost, LeadershipGone when another daemon leads.
    """
    amnesty = Amnesty(parts.settings.stale_after, parts.settings.heartbeat_interval, reason)
    connection.when_lost(parts.sweep.ring)
    with parts.progress.watch("sweep", within=grace(parts.settings.sweep_interval)):
        sweep = _Sweep(parts, connection, reign, amnesty)
        while not parts.drain.is_set():
            if await parts.run_pass("sweep", connection, sweep.run):
                pause = timedelta(0) if sweep.more else parts.settings.sweep_interval
                await parts.sweep.wait(pause)
            else:
                await anyio.sleep(_FAILED_PAUSE_S)


@dataclass(slots=True)
class _Sweep:
    """The passes of one reign."""

    parts: Parts
    connection: Connection
    reign: Reign
    amnesty: Amnesty
    more: bool = False
    """One of the statements of the last pass met its limit of rows."""
    last_look: datetime | None = None

    async def run(self) -> int:
        limits = self.parts.limits
        look = await passes.look(self.connection, reign=self.reign, limits=limits)
        if look is None:
            raise LeadershipGone("the term has passed to another daemon")
        self.amnesty.stale_after = limits.stale_after
        ruling = self.amnesty.judge(look.now, agents=look.agents, stale=look.stale)
        self._tell(ruling)
        if look.unaccepted:
            since = self.last_look or look.now - limits.accept_timeout
            await passes.push_again(self.connection, limits, since=since)
        self.last_look = look.now
        self.more = False
        swept = 0
        for sweep in _due(look, ruling):
            count = await self._try(sweep, limits)
            self.more |= count >= limits.batch
            swept += count
        if swept:
            self.parts.count("swept", swept)
            self.parts.tail.ring()
        return swept

    async def _try(self, sweep: Sweep, limits: Limits) -> int:
        try:
            return await sweep(self.connection, limits)
        except RequestRefused as error:
            # One bad row stops its own kind of sweep, and neither the others nor the daemon.
            self.parts.telemetry.emit(PassFailed("sweep", type(error).__name__), error=error)
            return 0

    def _tell(self, ruling: Ruling) -> None:
        self.parts.forgiving = ruling.in_force
        if ruling.granted and ruling.until:
            self.parts.telemetry.emit(AmnestyGranted(ruling.granted, ruling.until))
        elif ruling.ended:
            self.parts.telemetry.emit(AmnestyEnded())


def _due(look: Look, ruling: Ruling) -> list[Sweep]:
    """Say which statements this look asks for; verdicts on silence wait for an amnesty's end."""
    promises: list[tuple[bool, Sweep]] = [
        (bool(look.ahead), passes.correct_heartbeats),
        (look.overdue, passes.end_overdue),
        (look.timed_out, passes.take_back_timed_out),
        (look.to_cancel, passes.end_cancelled),
    ]
    verdicts: list[tuple[bool, Sweep]] = [
        (bool(look.stale), passes.block_stale_agents),
        (bool(look.lapsed), passes.take_back_lapsed),
        (look.unaccepted, passes.take_back_unaccepted),
    ]
    return [sweep for asked, sweep in promises + ([] if ruling.in_force else verdicts) if asked]
