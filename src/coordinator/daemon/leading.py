"""One daemon leads, the others stand by.

The leader's own connection holds a session advisory lock and the LISTENs, so both are lost
together. A stopped process keeps its lock for ever, so the leader also shows that its passes
succeed (`coordination.leadership`); a standby that sees no progress ends the leader's backend and
takes over. Safety never rests on leadership: with two leaders nothing is booked twice.

Nobody waits inside PostgreSQL for the lock: a waiting statement holds a snapshot and stops vacuum.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from coordinator.core.errors import RequestRefused
from coordinator.core.events import LeadershipAwaited, LeadershipContested, LeadershipSeized
from coordinator.daemon.health_state import Role
from coordinator.daemon.parts import Parts, grace, pause
from coordinator.store import passes
from coordinator.store.connection import Connection
from coordinator.store.passes import Candidacy, Reign

LOCK_KEY = 0x636F6F7264696E61
"""The advisory lock of leadership: the first eight letters of `coordinator`."""


async def win(parts: Parts, connection: Connection, leader: UUID) -> Reign | None:
    """Return a reign once this daemon leads, None when drained before; stands by until then.

    Raises StoreUnavailable when the connection is lost.
    """
    watch = _Watch(parts, connection, leader)
    with parts.progress.watch("standby", within=grace(parts.settings.leader_poll)):
        while not parts.drain.is_set():
            candidacy = await passes.lead(connection, key=LOCK_KEY, leader=leader)
            parts.progress.mark("standby")
            if candidacy.got:
                return Reign(candidacy.term, leader)
            await watch.look(candidacy)
            await pause(parts.settings.leader_poll, parts.drain)
    return None


@dataclass(slots=True)
class _Watch:
    """What a standby has seen of the leader."""

    parts: Parts
    connection: Connection
    us: UUID
    _stalled: tuple[int, datetime | None] | None = None
    _contested: int | None = None

    async def look(self, seen: Candidacy) -> None:
        if self.parts.health.now.role is not Role.STANDBY:
            self.parts.change(role=Role.STANDBY, term=None)
            self.parts.telemetry.emit(LeadershipAwaited())
        # Twice the same: a new leader has the lock a moment before its first sign of progress.
        stalled = self._stalled_leader(seen)
        if (stalled and stalled == self._stalled) or self._is_our_ghost(seen):
            await self._end(seen)
        self._stalled = stalled

    async def _end(self, seen: Candidacy) -> None:
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
            self.parts.telemetry.emit(LeadershipSeized(seen.silent_for.total_seconds(), seen.term))

    def _is_our_ghost(self, seen: Candidacy) -> bool:
        """Whether our own former session still has the lock, after a link that broke silently."""
        return seen.leader == self.us and seen.holder_pid == seen.backend_pid

    def _stalled_leader(self, seen: Candidacy) -> tuple[int, datetime | None] | None:
        if seen.holder_pid is None or seen.silent_for < self.parts.settings.leader_stale_after:
            return None
        return seen.holder_pid, seen.renewed_at
