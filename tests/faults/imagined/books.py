"""The books of an imagined run: its time, the events, what clients note, what daemons log."""

import random
from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from tests.faults.checking.log import PAGE
from tests.faults.checking.record import Event, History, Row
from tests.faults.history import Note, Saw

_MS = 1_000_000
_AHEAD = 1_700_000_000_000 * _MS
"""How far the server's clock is ahead of CLOCK_MONOTONIC, at first."""
_TOO_FAR = _MS // 10


class Books:
    """What is written down, in the order in which it happens."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now = _AHEAD + 1000 * _MS
        """By the server's clock."""
        self._ahead = _AHEAD
        self._notes: list[Note] = []
        self._events: list[Event] = []
        self._log: list[list[int]] = [[]]
        self._locked: list[tuple[int, int]] = []
        self._xid = 700
        self._sequence = 0
        self._untold: list[int] = []
        self._unseen: defaultdict[int, list[int]] = defaultdict(list)

    def history(self, rows: Iterable[Row]) -> History:
        """All that is left behind."""
        return History(
            notes=tuple(self._notes),
            events=tuple(self._events),
            rows=tuple(rows),
            log=tuple(map(tuple, self._log)),
            server_ahead=self._ahead + _TOO_FAR,
            locked=tuple(self._locked),
        )

    def wait(self, ms: float) -> None:
        """Let time pass."""
        self.now += int(ms * _MS)

    def set_clock(self, seconds: float) -> None:
        """Set the server's clock forward, or back; the clients' goes on as before."""
        self.now += int(seconds * 1000 * _MS)
        self._ahead += int(seconds * 1000 * _MS)

    def new_id(self) -> UUID:
        """Draw an id."""
        return UUID(int=self.chance.getrandbits(128), version=4)

    def note(self, client: str, saw: Saw, **fields: Any) -> None:
        """Let a client write something down."""
        self.wait(self.chance.uniform(0.1, 2))
        told = {name: value for name, value in fields.items() if value is not None}
        self._notes.append(
            Note.model_construct(client=client, at=self.now - self._ahead, saw=saw, **told)
        )

    def begin(self) -> int:
        """Begin a transaction."""
        self.wait(self.chance.uniform(0.1, 2))
        self._xid += 1
        return self._xid

    def event(self, xid: int, name: str, **fields: Any) -> None:
        """Let something happen."""
        self.wait(self.chance.uniform(0.01, 0.1))
        self._sequence += self.chance.choice((1, 1, 1, 2))  # some transactions were rolled back
        self._events.append(Event(self._sequence, xid, self.now, name, **fields))
        self._untold.append(self._sequence)

    def hide(self, xid: int) -> None:
        """Let the last event be one of a transaction that is not committed yet."""
        self._unseen[xid].append(self._untold.pop())

    def commit(self, xid: int) -> None:
        """Show what was hidden."""
        self._untold += self._unseen.pop(xid)

    def declare_locked_since(self, began: int) -> None:
        """Say that a stranger had something locked from then to now."""
        self._locked.append((began - self._ahead, self.now - self._ahead))

    def tell(self, *, kept: bool = True, new_reign: bool = False) -> None:
        """Log a page of what is committed; it comes again where its cursor was not kept."""
        page = sorted(self._untold)[:PAGE]
        self._log[-1] += page
        if kept:
            self._untold = sorted(self._untold)[PAGE:]
        if new_reign:
            self._log.append([])

    def tell_all(self) -> None:
        """Log all that is committed."""
        while self._untold:
            self.tell()
