"""The tail: one log line for every transition, whoever made it, in the order of their numbers.

It reads `coordination_events` between two snapshots and keeps the cursor in the database after each
page, so that after a crash only the last page may be told again, with the same numbers. A page is
kept once its lines are written: where nobody reads the log, the tail waits, and it alone.
"""

from dataclasses import dataclass, field
from datetime import timedelta

import anyio

from coordinator.core.allowance import Allowance
from coordinator.core.events import TailReset
from coordinator.core.transitions import Transition
from coordinator.daemon.parts import LeadershipGone, Parts, grace, pause
from coordinator.store import passes
from coordinator.store.connection import Connection
from coordinator.store.passes import Cursor, Reign

_PAGE = 1000
_AT_ONCE = 50
_GATHER_S = 0.02
_SHORTEST_POLL = timedelta(milliseconds=250)
_FAILED_PAUSE_S = 0.2
_PATIENCE = timedelta(seconds=5)


async def keep_tailing(parts: Parts, connection: Connection, reign: Reign) -> None:
    """Tell transitions until drained, and once more then.

    Raises StoreUnavailable when the connection is lost, LeadershipGone when another daemon leads.
    """
    connection.when_lost(parts.tail.ring)
    with parts.progress.watch("tail", within=grace(parts.settings.tail_interval)):
        cursor = await _begin(parts, connection, reign)
        if cursor is not None:
            await _Tail(parts, connection, reign, cursor).follow()


@dataclass(slots=True)
class _Tail:
    parts: Parts
    connection: Connection
    reign: Reign
    cursor: Cursor
    more: bool = False
    looks: Allowance = field(
        default_factory=lambda: Allowance(share=0.05, least=0.005, most=0.01, saved=0.1)
    )
    """Notifications can be forged: once this is used up, ten looks in vain a second are made."""

    async def follow(self) -> None:
        # Not every transition rings, so after some were found others are looked for soon.
        longest_wait = _SHORTEST_POLL
        rung = False
        while True:
            draining, began = self.parts.drain.is_set(), anyio.current_time()
            told = await self._read()
            if draining and not self.more:
                return
            if rung and not told:
                now = anyio.current_time()
                self.looks.spend(now - began, now=now)
            longest = self.parts.settings.tail_interval
            longest_wait = min(_SHORTEST_POLL if told else longest_wait * 2, longest)
            if not self.more:
                rung = bool(await self.parts.tail.wait(longest_wait))
                if rung:
                    # A burst becomes one page, not a thousand.
                    rest = max(self.looks.rest(now=anyio.current_time()), _GATHER_S)
                    await pause(timedelta(seconds=rest), self.parts.drain)

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
    for start in range(0, len(transitions), _AT_ONCE):
        await _flush(parts)
        for transition in transitions[start : start + _AT_ONCE]:
            parts.telemetry.emit(transition)
    await _flush(parts)
    return parts.telemetry.unwritten == unwritten


async def _flush(parts: Parts) -> None:
    """Wait for the reader of the log, for as long as that takes; the other loops go on."""
    while not await parts.telemetry.flush(within=_PATIENCE):
        parts.progress.mark("tail")


async def _begin(parts: Parts, connection: Connection, reign: Reign) -> Cursor | None:
    """Load the cursor; in a database restored from another cluster, begin it anew.

    None when drained before what was restored could be logged.
    """
    cursor, restored, highest = await passes.load_cursor(connection)
    if not restored:
        return cursor
    parts.telemetry.emit(TailReset("the database was restored from another cluster"))
    transitions, anew = await passes.read_restored_events(connection, cursor, highest=highest)
    while not await _tell(parts, transitions):
        await pause(parts.settings.tail_interval, parts.drain)
        if parts.drain.is_set():
            return None
        parts.progress.mark("tail")
    last = transitions[-1].sequence if transitions else highest
    if not await passes.restart_cursor(connection, anew, highest=last, reign=reign):
        raise LeadershipGone("the term has passed to another daemon")
    return anew
