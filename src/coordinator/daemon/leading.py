"""One daemon leads, the others stand by.

The leader's own connection holds a session advisory lock and the LISTENs, so both are lost
together. A stopped process keeps its lock for ever, so the leader also shows that its passes
succeed (`coordination.leadership`); a standby that sees no progress ends the leader's backend and
takes over. Safety never rests on leadership: with two leaders nothing is booked twice.

Nobody waits inside PostgreSQL for the lock: a waiting statement holds a snapshot and stops vacuum.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import anyio

from coordinator.core.errors import RequestRefused
from coordinator.core.events import LeadershipAwaited, LeadershipContested, LeadershipSeized
from coordinator.daemon.health_state import Role
from coordinator.daemon.parts import Parts, grace, pause
from coordinator.store import passes
from coordinator.store.connection import Connection
from coordinator.store.passes import Candidacy, Reign

LOCK_KEY = 0x636F6F7264696E61
"""The advisory lock of leadership: the first eight letters of `coordinator`."""


async def win(
    parts: Parts, connection: Connection, leader: UUID, *, standing_by: Callable[[], None]
) -> Reign | None:
    """Return a reign once this daemon leads, None when drained before; stands by until then.

    `standing_by` is called before each look at the leader. Raises StoreUnavailable when the
    connection is lost.
    """
    watch = _Watch(parts, connection, leader)
    with parts.progress.watch("standby", within=grace(parts.settings.leader_poll)):
        while not parts.drain.is_set():
            candidacy = await passes.lead(connection, key=LOCK_KEY, leader=leader)
            parts.progress.mark("standby")
            if candidacy.got:
                return Reign(candidacy.term, leader)
            standing_by()
            await watch.look(candidacy)
            await pause(parts.settings.leader_poll, parts.drain)
    return None


@dataclass(slots=True)
class _Watch:
    """What a standby has seen of the leader."""

    parts: Parts
    connection: Connection
    us: UUID
    _sign: tuple[int | None, datetime | None] = (None, None)
    """The leader's last sign of progress; its time is only compared with itself."""
    _sign_at: float = 0.0
    _contested: int | None = None

    async def look(self, seen: Candidacy) -> None:
        if self.parts.health.now.role is not Role.STANDBY:
            self.parts.change(role=Role.STANDBY, term=None)
            self.parts.telemetry.emit(LeadershipAwaited())
        # By our own clock, which nobody sets: the server's may jump, and would condemn or spare.
        now = anyio.current_time()
        if self._sign != (seen.holder_pid, seen.renewed_at):
            self._sign, self._sign_at = (seen.holder_pid, seen.renewed_at), now
        silent_for = timedelta(seconds=now - self._sign_at)
        if silent_for >= self.parts.settings.leader_stale_after or self._is_our_ghost(seen):
            await self._end(seen, silent_for)

    async def _end(self, seen: Candidacy, silent_for: timedelta) -> None:
        if seen.holder_pid is None:
            return
        try:
            await passes.end_stalled_leader(self.connection, seen.holder_pid)
        except RequestRefused as error:
            # A session of another role, which only an operator can end.
            if self._contested != seen.holder_pid:
                self._contested = seen.holder_pid
                self.parts.telemetry.emit(LeadershipContested(seen.holder_pid, error.what))
        else:
            self.parts.telemetry.emit(LeadershipSeized(silent_for.total_seconds(), seen.term))

    def _is_our_ghost(self, seen: Candidacy) -> bool:
        """Whether our own former session still has the lock, after a link that broke silently."""
        return seen.leader == self.us and seen.holder_pid == seen.backend_pid
