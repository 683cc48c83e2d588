"""The dispatch loop: give due handoffs to idle agents as soon as either appears.

A wake-up names what changed, and the pass looks there alone. A full scan runs first, after every
reconnect (a new reign) and as a safety poll; it finds the time to sleep to as well.

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
from coordinator.daemon.parts import Parts, grace, pause
from coordinator.daemon.wakeup import Wanted
from coordinator.store import passes
from coordinator.store.connection import Connection
from coordinator.store.passes import Dispatched, Scan

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

    def pause(self, now: float) -> timedelta:
        until_scan = timedelta(seconds=max(self.scan_at - now, 0))
        return min(until_scan, self.patience) if self.left_over else until_scan


async def keep_dispatching(parts: Parts, connection: Connection) -> None:
    """Dispatch until drained; raises StoreUnavailable when the connection is lost."""
    connection.when_lost(parts.dispatch.ring)
    rhythm = _Rhythm()
    with parts.progress.watch("dispatch", within=grace(parts.settings.safety_poll)):
        while not parts.drain.is_set():
            wanted = await parts.dispatch.wait(rhythm.pause(anyio.current_time()))
            if parts.drain.is_set():
                return
            await _turn(parts, connection, rhythm, wanted)
            rest = rhythm.looks.rest(now=anyio.current_time())
            if rest:
                await pause(timedelta(seconds=rest), parts.drain)


async def _turn(parts: Parts, connection: Connection, rhythm: _Rhythm, wanted: Wanted) -> None:
    began = anyio.current_time()
    rhythm.take_in(wanted, now=began)
    scanning = began >= rhythm.scan_at
    asked = bool(wanted.addresses or wanted.agents)
    wanted.add(rhythm.left_over)
    count = 0

    async def act() -> int:
        nonlocal count
        if scanning:
            count = await _scan(parts, connection, rhythm)
        else:
            count = await _dispatch(parts, connection, rhythm, wanted)
        return count

    if not scanning and not wanted.addresses and not wanted.agents:
        return
    if await parts.run_pass("dispatch", connection, act):
        now = anyio.current_time()
        rhythm.account(count, scanned=scanning, asked=asked, took=now - began, now=now)
    else:
        parts.dispatch.ring_again(wanted)
        await anyio.sleep(_FAILED_PAUSE_S)


async def _scan(parts: Parts, connection: Connection, rhythm: _Rhythm) -> int:
    found = await passes.scan(connection)
    if _is_ripe(found):
        made = await passes.make_due(connection, batch=parts.limits.batch)
        found = await passes.scan(connection)
        # Still ripe though nothing was made due: a stranger's lock holds it.
        rhythm.scan_patience = _SOON if made else min(rhythm.scan_patience * 2, _LATER)
    longest = parts.settings.safety_poll
    if parts.forgiving:
        longest = min(longest, _LATER)
    if found.due_in is not None:
        longest = min(
            longest, max(found.due_in, rhythm.scan_patience if _is_ripe(found) else _NONE)
        )
    dispatched = await _dispatch(parts, connection, rhythm, Wanted(addresses=set(found.addresses)))
    rhythm.scan_at = anyio.current_time() + longest.total_seconds()
    if not parts.health.now.first_scan_done:
        parts.change(first_scan_done=True)
    return dispatched


async def _give(
    parts: Parts, connection: Connection, addresses: list[str], agents: list[str]
) -> Dispatched:
    """Dispatch; where a row is refused, halve, so that one bad row stops its own address alone."""
    try:
        return await passes.dispatch(
            connection, addresses=addresses, agents=agents, limits=parts.limits
        )
    except RequestRefused as error:
        if len(addresses) + len(agents) <= 1:
            parts.telemetry.emit(PassFailed("dispatch", type(error).__name__), error=error)
            return Dispatched(0, left_over=False)
    done = Dispatched(0, left_over=False)
    for some, others in _halves(addresses, agents):
        half = await _give(parts, connection, some, others)
        done = Dispatched(done.count + half.count, done.left_over or half.left_over)
    return done


def _halves(addresses: list[str], agents: list[str]) -> list[tuple[list[str], list[str]]]:
    if addresses and agents:
        return [(addresses, []), ([], agents)]
    middle = (len(addresses) + len(agents)) // 2
    return [(addresses[:middle], agents[:middle]), (addresses[middle:], agents[middle:])]


def _is_ripe(found: Scan) -> bool:
    return found.due_in is not None and found.due_in <= _NONE


async def _dispatch(parts: Parts, connection: Connection, rhythm: _Rhythm, wanted: Wanted) -> int:
    rhythm.left_over = Wanted()
    if not wanted.addresses and not wanted.agents:
        return 0
    done = await _give(parts, connection, sorted(wanted.addresses), sorted(wanted.agents))
    if done.count:
        parts.count("dispatched", done.count)
        parts.tail.ring()
    if done.left_over and not done.count:
        # Its row is locked, most likely by its own heartbeat: look again soon, and later and later.
        rhythm.left_over = wanted
        rhythm.patience = min(rhythm.patience * 2, _LATER)
        return 0
    rhythm.patience = _SOON
    if done.left_over or done.count >= parts.limits.batch:
        parts.dispatch.ring_again(wanted)
    return done.count
