"""The tail: one log line for every transition, whoever made it, in the order of their numbers.

It reads `coordination_events` between two snapshots and keeps the cursor in the database after each
page, so that after a crash only the last page may be told again, with the same numbers.
"""

from dataclasses import dataclass
from datetime import timedelta

import anyio
import anyio.lowlevel

from coordinator.core.events import TailReset
from coordinator.core.transitions import Transition
from coordinator.daemon.parts import LeadershipGone, Parts, grace
from coordinator.store import passes
from coordinator.store.connection import Connection
from coordinator.store.passes import Cursor, Reign

_PAGE = 1000
_AT_ONCE = 50
_GATHER_S = 0.02
_SHORTEST_POLL = timedelta(milliseconds=250)
_FAILED_PAUSE_S = 0.2


async def keep_tailing(parts: Parts, reign: Reign) -> None:
    """Tell transitions until drained, and once more then.

    Raises StoreUnavailable when the connection is lost, LeadershipGone when another daemon leads.
    """
    connection = await parts.connect("tail")
    connection.when_lost(parts.tail.ring)
    try:
        tail = _Tail(parts, connection, reign, await _begin(parts, connection, reign))
        with parts.progress.watch("tail", within=grace(parts.settings.tail_interval)):
            await tail.follow()
    finally:
        await connection.close()


@dataclass(slots=True)
class _Tail:
    parts: Parts
    connection: Connection
    reign: Reign
    cursor: Cursor
    more: bool = False

    async def follow(self) -> None:
        # Not every transition rings, so after some were found others are looked for soon.
        pause = _SHORTEST_POLL
        while True:
            draining = self.parts.drain.is_set()
            told = await self._read()
            if draining and not self.more:
                return
            longest = self.parts.settings.tail_interval
            pause = min(_SHORTEST_POLL if told else pause * 2, longest)
            if not self.more:
                rung = await self.parts.tail.wait(pause)
                if rung and not self.parts.drain.is_set():
                    await anyio.sleep(_GATHER_S)  # a burst becomes one page, not a thousand

    async def _read(self) -> int:
        told = 0

        async def act() -> int:
            nonlocal told
            page = await passes.read_events(self.connection, self.cursor, page=_PAGE)
            self.more = page is not None and page.full
            if page is None:
                return 0
            if await _tell(self.parts, page.transitions):
                told = len(page.transitions)
                await self._keep(page.cursor, page.transitions)
            else:
                self.more = False
            return told

        if not await self.parts.run_pass("tail", self.connection, act):
            await anyio.sleep(_FAILED_PAUSE_S)
            self.more = True
        return told

    async def _keep(self, cursor: Cursor, transitions: list[Transition]) -> None:
        highest = max((transition.sequence for transition in transitions), default=0)
        kept = await passes.store_cursor(self.connection, cursor, highest=highest, reign=self.reign)
        if not kept:
            raise LeadershipGone("the term has passed to another daemon")
        self.cursor = cursor


async def _tell(parts: Parts, transitions: list[Transition]) -> bool:
    """Log them; False where a line could not be written, as on a full disk: they are due again."""
    unwritten = parts.telemetry.unwritten
    for number, transition in enumerate(transitions):
        parts.telemetry.emit(transition)
        if number % _AT_ONCE == 0:
            await anyio.lowlevel.checkpoint()  # the other loops wait while lines are written
    return parts.telemetry.unwritten == unwritten


async def _begin(parts: Parts, connection: Connection, reign: Reign) -> Cursor:
    """Load the cursor; in a database restored from another cluster, begin it anew."""
    cursor, restored, highest = await passes.load_cursor(connection)
    if not restored:
        return cursor
    parts.telemetry.emit(TailReset("the database was restored from another cluster"))
    transitions, anew = await passes.read_restored_events(connection, cursor, highest=highest)
    await _tell(parts, transitions)
    last = transitions[-1].sequence if transitions else highest
    if not await passes.restart_cursor(connection, anew, highest=last, reign=reign):
        raise LeadershipGone("the term has passed to another daemon")
    return anew
