"""The dispatch loop: give due handoffs to idle agents as soon as either appears.

A wake-up names what changed, and the pass looks there alone. A full scan runs first, after every
reconnect (a new reign) and as a safety poll; it finds the time to sleep to as well.

In a burst it reads what changed by itself, and nobody need ring: `hushing` tells how.

Notifications can be forged by any login, so what they name is looked at in vain for about a fifth
of the time. Once that is used up, a vain look is followed by a rest of 10 to 250 ms, and a vain
scan, which looks do not wait for, by one of 250 ms to a second.
"""

from dataclasses import dataclass, field
from datetime import timedelta

import anyio

from coordinator.core.allowance import Allowance
from coordinator.core.errors import RequestRefused
from coordinator.core.events import PassFailed
from coordinator.daemon.hushing import Hush
from coordinator.daemon.parts import Parts, grace, pause
from coordinator.daemon.wakeup import Wanted
from coordinator.store import passes
from coordinator.store.connection import Connection
from coordinator.store.passes import Dispatched, Reign, Scan

_SOON = timedelta(milliseconds=20)
_NONE = timedelta(0)
_FAILED_PAUSE_S = 0.2
_LATER = timedelta(seconds=1)


@dataclass(slots=True)
class _Rhythm:
    """When to look again: the next full scan, and what was left over."""

    scan_at: float = 0.0
    left_over: Wanted = field(default_factory=Wanted)
    patience: timedelta = _SOON
    scan_patience: timedelta = _SOON
    looks: Allowance = field(
        default_factory=lambda: Allowance(share=0.2, least=0.002, most=0.05, saved=0.1)
    )
    scans: Allowance = field(
        default_factory=lambda: Allowance(share=0.2, least=0.05, most=0.2, saved=1.0)
    )
    hinted: bool = False
    """A notification asked for the next full scan."""

    def take_in(self, wanted: Wanted, *, now: float) -> None:
        """Scan soon where everywhere is wanted: at once, or as soon as the allowance has it."""
        if wanted.everywhere:
            self.scan_at = min(self.scan_at, now + self.scans.rest(now=now))
            self.hinted = True
        if wanted.at_once:
            self.scan_at = now

    def account(self, count: int, *, scanned: bool, asked: bool, took: float, now: float) -> None:
        """Charge a look that found nothing to those who asked for it."""
        if count:
            self.looks.earn(now=now)
            self.scans.earn(now=now)
        elif scanned and self.hinted:
            self.scans.spend(took, now=now)
        elif asked and not scanned:
            self.looks.spend(took, now=now)
        self.hinted &= not scanned

    def scan_in(self, span: timedelta, *, now: float) -> None:
        """Scan no later than that."""
        self.scan_at = min(self.scan_at, now + max(span.total_seconds(), 0))

    def pause(self, now: float) -> timedelta:
        until_scan = timedelta(seconds=max(self.scan_at - now, 0))
        return min(until_scan, self.patience) if self.left_over else until_scan


async def keep_dispatching(parts: Parts, connection: Connection, reign: Reign) -> None:
    """Dispatch until drained; raises StoreUnavailable when the connection is lost."""
    connection.when_lost(parts.dispatch.ring)
    with parts.progress.watch("dispatch", within=grace(parts.settings.safety_poll)):
        hush = Hush(connection, reign.term, parts.dispatch)
        await _Dispatcher(parts, connection, hush, reign.term).serve()


@dataclass(slots=True)
class _Dispatcher:
    """The passes of one reign."""

    parts: Parts
    connection: Connection
    hush: Hush
    term: int
    rhythm: _Rhythm = field(default_factory=_Rhythm)

    async def serve(self) -> None:
        rhythm = self.rhythm
        while not self.parts.drain.is_set():
            wanted = await self.parts.dispatch.wait(self._pause(anyio.current_time()))
            if self.parts.drain.is_set():
                return
            await self._turn(wanted)
            rest = rhythm.looks.rest(now=anyio.current_time())
            if rest:
                await pause(timedelta(seconds=rest), self.parts.drain)

    def _pause(self, now: float) -> timedelta:
        until_scan, until_read = self.rhythm.pause(now), self.hush.pause(now)
        return until_scan if until_read is None else min(until_scan, until_read)

    async def _turn(self, wanted: Wanted) -> None:
        began = anyio.current_time()
        self.rhythm.take_in(wanted, now=began)
        asked = bool(wanted.addresses or wanted.agents)
        wanted.add(self.rhythm.left_over)
        scanning, reading, count = began >= self.rhythm.scan_at, False, 0

        async def act() -> int:
            nonlocal count, reading, scanning
            # Before a scan, which sees at least as much: what is read of changes begins before it.
            await self.hush.settle(above=self.parts.settings.hush_above, now=began)
            reading = self.hush.is_due(began)
            if reading:
                wanted.add(await self._changes(began))
            scanning = began >= self.rhythm.scan_at
            count = await (self._scan() if scanning else self._dispatch(wanted))
            return count

        named = wanted.addresses or wanted.agents
        if not (scanning or named or self.hush.is_due(began)):
            return
        if await self.parts.run_pass("dispatch", self.connection, act):
            now = anyio.current_time()
            if reading:
                self.hush.rest(now=now)
            self.rhythm.account(count, scanned=scanning, asked=asked, took=now - began, now=now)
        else:
            self.parts.dispatch.ring_again(wanted)
            await anyio.sleep(_FAILED_PAUSE_S)

    async def _changes(self, now: float) -> Wanted:
        changes = await self.hush.changes(now=now)
        if changes.due_in is not None:
            self.rhythm.scan_in(changes.due_in, now=now)
        if changes.addresses or changes.agents:
            self.parts.tail.ring()
        return Wanted(addresses=set(changes.addresses), agents=set(changes.agents))

    async def _scan(self) -> int:
        parts, rhythm = self.parts, self.rhythm
        found = await passes.scan(self.connection)
        if _is_ripe(found):
            made = await passes.make_due(self.connection, batch=parts.limits.batch)
            found = await passes.scan(self.connection)
            # Still ripe though nothing was made due: a stranger's lock holds it.
            rhythm.scan_patience = _SOON if made else min(rhythm.scan_patience * 2, _LATER)
        longest = parts.settings.safety_poll
        if parts.forgiving:
            longest = min(longest, _LATER)
        if found.due_in is not None:
            longest = min(
                longest, max(found.due_in, rhythm.scan_patience if _is_ripe(found) else _NONE)
            )
        dispatched = await self._dispatch(Wanted(addresses=set(found.addresses)))
        rhythm.scan_at = anyio.current_time() + longest.total_seconds()
        if not parts.health.now.first_scan_done:
            parts.change(first_scan_done=True)
        return dispatched

    async def _dispatch(self, wanted: Wanted) -> int:
        parts, rhythm = self.parts, self.rhythm
        rhythm.left_over = Wanted()
        if not wanted.addresses and not wanted.agents:
            return 0
        done = await self._give(sorted(wanted.addresses), sorted(wanted.agents))
        if done.count:
            parts.count("dispatched", done.count)
            parts.tail.ring()
            parts.watch.ring()
        if done.left_over and not done.count:
            # Its row is locked, most likely by its own heartbeat: look again soon, later and later.
            rhythm.left_over = wanted
            rhythm.patience = min(rhythm.patience * 2, _LATER)
            return 0
        rhythm.patience = _SOON
        if done.left_over or done.count >= parts.limits.batch:
            parts.dispatch.ring_again(wanted)
        return done.count

    async def _give(self, addresses: list[str], agents: list[str]) -> Dispatched:
        """Dispatch; where a row is refused, halve: one bad row stops its own address alone."""
        try:
            return await passes.dispatch(
                self.connection,
                addresses=addresses,
                agents=agents,
                term=self.term,
                limits=self.parts.limits,
            )
        except RequestRefused as error:
            if len(addresses) + len(agents) <= 1:
                self.parts.telemetry.emit(PassFailed("dispatch", type(error).__name__), error=error)
                return Dispatched(0, left_over=False)
        done = Dispatched(0, left_over=False)
        for some, others in _halves(addresses, agents):
            half = await self._give(some, others)
            done = Dispatched(done.count + half.count, done.left_over or half.left_over)
        return done


def _halves(addresses: list[str], agents: list[str]) -> list[tuple[list[str], list[str]]]:
    if addresses and agents:
        return [(addresses, []), ([], agents)]
    middle = (len(addresses) + len(agents)) // 2
    return [(addresses[:middle], agents[:middle]), (addresses[middle:], agents[middle:])]


def _is_ripe(found: Scan) -> bool:
    return found.due_in is not None and found.due_in <= _NONE
