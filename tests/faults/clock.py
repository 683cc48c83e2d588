"""Clocks that can be set while processes go by them, by libfaketime.

Only what a clock on the wall tells is changed. Time that passes (CLOCK_MONOTONIC) goes on as it
was, as when an administrator or a virtual machine's host sets the clock.
"""

import shlex
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from coordinator.embedded import PrivateServer, ServerBinaries
from tests.support.postgres import chosen_binaries, throw_away_server

_LIBRARIES = Path("/usr/lib")
_PLACES = ("*/faketime/libfaketime.so.1", "faketime/libfaketime.so.1")
_PROGRAMS = ("initdb", "postgres")


@dataclass(frozen=True, slots=True)
class Clock:
    """The clock of some processes; a new one shows the right time."""

    file: Path

    def set(self, *, ahead: timedelta) -> None:
        """Set it so far ahead of the machine's; behind, if negative."""
        written = self.file.with_suffix(".new")
        written.write_text(f"{ahead.total_seconds():+f}")
        # It is read at every look at the clock, and must never be read half written.
        written.replace(self.file)

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes a process go by it."""
        return {
            "LD_PRELOAD": str(faketime()),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


@contextmanager
def a_clock() -> Iterator[Clock]:
    """A clock to set until the end of the block; skip the test where that is not possible."""
    faketime()
    with tempfile.TemporaryDirectory(prefix="coordinator-test-") as directory:
        made = Clock(Path(directory, "clock"))
        made.set(ahead=timedelta(0))
        try:
            yield made
        finally:
            _clear_up()


def _clear_up() -> None:
    """Remove what libfaketime keeps in shared memory for processes that were killed."""
    for kept in Path("/dev/shm").glob("*faketime_s[eh]m_*"):
        if not Path("/proc", kept.name.rpartition("_")[2]).exists():
            kept.unlink(missing_ok=True)


def faketime() -> Path:
    """Where libfaketime is; skip the test where it is not."""
    for place in _PLACES:
        for found in _LIBRARIES.glob(place):
            return found
    pytest.skip("libfaketime is not installed (Debian: apt-get install faketime)")


@asynccontextmanager
async def server_with_a_clock(
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[tuple[PrivateServer, Clock]]:
    """A throw-away server whose clock can be set while it runs."""
    with a_clock() as its_clock:
        binaries = _wrapped(chosen_binaries(), its_clock)
        async with throw_away_server(binaries, settings) as server:
            yield server, its_clock


def _wrapped(real: ServerBinaries, its_clock: Clock) -> ServerBinaries:
    """The same programs, begun with the clock before them: a server inherits no environment."""
    exports = " ".join(
        f"{name}={shlex.quote(value)}" for name, value in its_clock.environment.items()
    )
    directory = its_clock.file.parent
    for program in _PROGRAMS:
        wrapper = directory / program
        path = shlex.quote(str(real.bin_dir / program))
        wrapper.write_text(f'#!/bin/sh\nexport {exports}\nexec {path} "$@"\n')
        wrapper.chmod(0o755)
    return ServerBinaries(directory, real.version, "given")
