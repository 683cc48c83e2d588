"""Which hook of a session is the newest, by when its process was started.

A session that begins with a prompt starts two hooks at once: one waits, the other says that the
session is busy. The second often comes first, and before the server is there to hear it. So each
hook leaves a note beside the server's door, and one that waits gives up where a newer one has.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from coordinator.waking.door import Door
from coordinator.waking.programs import program

_AT_ONCE_S = 0.05
"""The kernel counts the start of a process in hundredths of a second."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One hook's turn: when its process was started, as `now` counts."""

    started: float
    waits: bool

    @classmethod
    def of_this_process(cls, *, waits: bool) -> Self:
        """Return the turn of this process."""
        return cls(_started(), waits)

    def take(self, door: Door) -> None:
        """Leave the note, unless a newer hook has."""
        with suppress(
            OSError
        ):  # the folder may be another user's; then nobody is to be heard there
            door.make()
            if self.is_over(door):
                return
            beside = door.turn.with_suffix(f".{os.getpid():x}.turn")
            beside.write_text(f"{self.started!r} {int(self.waits)}", encoding="ascii")
            beside.rename(door.turn)

    def is_over(self, door: Door) -> bool:
        """Whether a newer hook has come; of two started together, the busy one is newer."""
        newest = _read(door.turn)
        if newest is None or newest.started > now():  # it is from before a restart of the machine
            return False
        if newest.waits is not self.waits and abs(newest.started - self.started) < _AT_ONCE_S:
            return self.waits
        return newest.started > self.started


def _read(note: Path) -> Turn | None:
    try:
        started, waits = note.read_text(encoding="ascii").split()
        return Turn(float(started), waits == "1")
    except (OSError, ValueError):
        return None


def now() -> float:
    """Return the time by which turns are counted: seconds since the machine was started.

    That is how Linux tells when a process began; elsewhere it is seconds since 1970.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.time() if clock is None else time.clock_gettime(clock)


def _started() -> float:
    """When this process began; not when it came so far, which is a matter of luck."""
    this = program(os.getpid())
    return now() if this is None else this.started / os.sysconf("SC_CLK_TCK")
