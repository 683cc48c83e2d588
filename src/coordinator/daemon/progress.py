"""Which loops still turn.

A process can be alive and do nothing: its event loop runs, but a loop inside it waits for ever.
So every supervised loop says how long it may go without progress, and marks each turn.
`/livez` and the watchdog of systemd both ask here, and a bare timer vouches for nothing.
A loop that waits for a lost database makes progress too: its waiting turns, and each turn marks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import anyio


@dataclass(frozen=True, slots=True)
class Silence:
    """How long a loop has made no progress, and how long it may."""

    loop: str
    lasted: timedelta
    allowed: timedelta

    @property
    def too_long(self) -> bool:
        """Whether the loop counts as stalled."""
        return self.lasted > self.allowed


@dataclass(slots=True)
class _Loop:
    allowed: timedelta
    marked_at: float


class Progress:
    """The supervised loops of one process; read and marked on its event loop only."""

    def __init__(self) -> None:
        self._loops: dict[str, _Loop] = {}

    @contextmanager
    def watch(self, name: str, *, within: timedelta) -> Iterator[None]:
        """Supervise the loop `name` for the length of the block; entering it counts as progress.

        `within` is the longest time between two marks; it must be longer than zero. A loop that
        has ended is not stalled. ValueError if `within` is too small or the name is taken.
        """
        if within <= timedelta(0):
            raise ValueError(f"loop {name!r} needs a time above zero, not {within}")
        if name in self._loops:
            raise ValueError(f"a loop named {name!r} is already watched")
        self._loops[name] = _Loop(within, anyio.current_time())
        try:
            yield
        finally:
            del self._loops[name]

    def mark(self, name: str) -> None:
        """Say that the loop `name` has made progress; KeyError if it is not watched."""
        self._loops[name].marked_at = anyio.current_time()

    def allow(self, name: str, *, within: timedelta) -> None:
        """Change how long the loop `name` may go without progress; nothing if it is not watched."""
        if name in self._loops:
            self._loops[name].allowed = within

    def silences(self) -> list[Silence]:
        """Every watched loop with the time since its last mark, by name."""
        now = anyio.current_time()
        return [
            Silence(name, timedelta(seconds=now - loop.marked_at), loop.allowed)
            for name, loop in sorted(self._loops.items())
        ]

    def stalled(self) -> list[str]:
        """Names of the loops that have made no progress for too long; empty if all is well."""
        return [silence.loop for silence in self.silences() if silence.too_long]
