"""The watch: a process that ends loses its work within seconds, not after minutes of silence.

While work is in progress it looks every half second at who holds a tether (`core.tethers`); else it
sleeps until something is dispatched. A look takes at most a twentieth of the time.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import anyio

from coordinator.core.errors import RequestRefused
from coordinator.core.events import PassFailed
from coordinator.core.tethers import Tethers
from coordinator.daemon.parts import Parts, grace, pause
from coordinator.store import passes
from coordinator.store.connection import Connection

_LOOK_EVERY_S = 0.5
_LEAST_REST = 20
"""Times what a look took."""
_AT_REST = timedelta(seconds=30)
_FAILED_PAUSE_S = 0.2
_MOST_IN_VAIN = 20
"""Then heartbeats decide, as soon as they stay out for too long."""


async def keep_watching(parts: Parts, connection: Connection) -> None:
    """Watch until drained; raises StoreUnavailable when the connection is lost."""
    connection.when_lost(parts.watch.ring)
    with parts.progress.watch("watch", within=grace(_AT_REST)):
        await _Watch(parts, connection).keep()


@dataclass(slots=True)
class _Watch:
    """The looks of one reign."""

    parts: Parts
    connection: Connection
    tethers: Tethers = field(default_factory=Tethers)
    vain: int = 0
    """Verdicts in a row that changed nothing."""
    at_work: bool = False
    """Somebody whose process could be seen to end holds work."""

    async def keep(self) -> None:
        while not self.parts.drain.is_set():
            began = anyio.current_time()
            if not await self.parts.run_pass("watch", self.connection, self._look):
                await anyio.sleep(_FAILED_PAUSE_S)
                continue
            rest = max(_LOOK_EVERY_S, _LEAST_REST * (anyio.current_time() - began))
            await pause(timedelta(seconds=rest), self.parts.drain)
            if not self.at_work and not self.parts.drain.is_set():
                await self.parts.watch.wait(_AT_REST)

    async def _look(self) -> int:
        looks = await passes.tethers(self.connection)
        holding: dict[int, list[UUID]] = defaultdict(list)
        for look in looks:
            if look.holds is not None:
                holding[look.id].append(look.holds)
        self.at_work = bool(holding)
        gone = self.tethers.judge(
            [look.id for look in looks if look.tethered],
            holding,
            now=anyio.current_time(),
            grace=self.parts.settings.disconnect_grace,
        )
        return await self._take_back(gone, holding) if gone else 0

    async def _take_back(self, gone: list[UUID], holding: Mapping[int, list[UUID]]) -> int:
        limits = self.parts.limits
        try:
            # Blocked first, or it would get the same work again.
            blocked = await passes.block_disconnected(self.connection, gone, limits)
            taken = await passes.take_back_disconnected(self.connection, gone, limits)
        except RequestRefused as error:
            # Heartbeats will tell, later; one bad row stops neither the others nor the daemon.
            self.parts.telemetry.emit(PassFailed("watch", type(error).__name__), error=error)
            return 0
        if taken:
            self.parts.count("swept", taken)
        if blocked or taken:
            self.vain = 0
            self.parts.tail.ring()
        else:
            self._give_up_on(gone, holding)
        return taken

    def _give_up_on(self, gone: list[UUID], holding: Mapping[int, list[UUID]]) -> None:
        """After some tries: a stranger has locked it, or the agent is blocked for more."""
        self.vain += 1
        if self.vain >= _MOST_IN_VAIN:
            self.vain = 0
            self.tethers.forget([one for one, theirs in holding.items() if set(theirs) & set(gone)])
