"""Which program has called a hook, as far as the kernel tells: on Linux.

A program is its number and when it was started, since numbers are used again. Between a client and
its hook there may be what only carries the call out, such as a shell or a launcher. Its own command
line says so: it has the hook's words, and nothing runs before them.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import dropwhile, islice
from pathlib import Path

MOST_PROGRAMS = 16
_BEFORE_A_COMMAND = re.compile(r"[|;&\n]")


@dataclass(frozen=True, slots=True)
class Program:
    """A process; `started` counts the kernel's ticks since the machine was."""

    pid: int
    started: int

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return program(self.pid) == self


def program(pid: int) -> Program | None:
    """Return a process that runs; None where there is none, or the kernel does not tell."""
    found = _status(pid)
    return None if found is None else Program(pid, found[1])


def parent() -> Program | None:
    """Return what has started this process; None where that is not known, or the first process."""
    return next(_above(os.getpid()), None)


def callers(words: Sequence[str]) -> tuple[Program, ...]:
    """Return what has called this process by these words, and the programs above that.

    At most 16, the nearest first; none where the kernel does not tell.
    """
    called = f" {' '.join(words)}"
    real = dropwhile(lambda each: _only_calls(each.pid, called), _above(os.getpid()))
    return tuple(islice(real, MOST_PROGRAMS))


def _above(pid: int) -> Iterator[Program]:
    found = _status(pid)
    while found is not None and found[0] > 1:  # the first process is everybody's
        pid = found[0]
        found = _status(pid)
        if found is not None:
            yield Program(pid, found[1])


def _only_calls(pid: int, called: str) -> bool:
    try:
        line = (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
    except OSError:
        return False
    before, found, _ = line.partition(called)
    return bool(found) and _BEFORE_A_COMMAND.search(before) is None


def _status(pid: int) -> tuple[int, int] | None:
    """Read a process's parent, and when it was started."""
    with suppress(OSError, ValueError, IndexError):  # it has ended, or this is no Linux
        line = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        fields = line.rpartition(")")[2].split()
        return int(fields[1]), int(fields[19])
    return None
