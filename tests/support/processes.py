"""The installed `coordinator` as a real process, whose log lines a test can wait for."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.support.waiting import eventually

SCRIPT = Path(sys.executable).with_name("coordinator")

_PATIENCE = timedelta(seconds=20)
_TAIL = 4000
"""Characters of output that a failure shows."""

LogLine = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunningProcess:
    """A process with its output in files: nothing blocks, and nothing is lost when it is killed."""

    process: subprocess.Popen[bytes]
    directory: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stdout(self) -> str:
        return self._read("stdout")

    @property
    def stderr(self) -> str:
        return self._read("stderr")

    @property
    def lines(self) -> list[LogLine]:
        """The JSON log lines so far, in the order in which each stream has them."""
        return [
            line
            for text in (self.stdout, self.stderr)
            for line in map(_parsed, text.splitlines())
            if line is not None
        ]

    def logged(self, event: str, **fields: object) -> list[LogLine]:
        """The log lines so far of this event that have these fields."""
        expected = {"event": event, **fields}.items()
        return [line for line in self.lines if expected <= line.items()]

    async def seen(
        self, event: str, *, within: timedelta = _PATIENCE, count: int = 1, **fields: object
    ) -> LogLine:
        """Wait for `count` log lines of this event with these fields; return the last of them."""

        async def probe() -> list[LogLine]:
            # Asked first: what it logged before it ended must still be found.
            ended = self.process.poll() is not None
            found = self.logged(event, **fields)
            if ended and len(found) < count:
                raise AssertionError(f"it ended without {event} {fields}: {self}")
            return found if len(found) >= count else []

        try:
            return (await eventually(probe, within=within))[count - 1]
        except AssertionError as error:
            error.add_note(f"waiting for {count} x {event} {fields} of {self}")
            raise

    def kill(self, sign: signal.Signals = signal.SIGKILL) -> None:
        """Send the signal; nothing happens if the process has ended."""
        self.process.send_signal(sign)

    async def wait(self, *, within: timedelta = _PATIENCE) -> int:
        """The exit code, once the process has ended; negative for a signal."""

        async def ended() -> bool:
            return self.process.poll() is not None

        try:
            await eventually(ended, within=within)
        except AssertionError as error:
            error.add_note(f"waiting for the end of {self}")
            raise
        return self.process.returncode

    def _read(self, name: str) -> str:
        return (self.directory / name).read_text(errors="replace")

    def __str__(self) -> str:
        return (
            f"{self.process.args!r}, exit code {self.process.returncode}\n"
            f"stdout: {self.stdout[-_TAIL:]}\nstderr: {self.stderr[-_TAIL:]}"
        )


@asynccontextmanager
async def running(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> AsyncIterator[RunningProcess]:
    """Run any command; it is killed at the end of the block if it has not ended."""
    with tempfile.TemporaryDirectory(prefix="coordinator-test-") as name:
        directory = Path(name)
        process = _spawn(command, directory, env=env, cwd=cwd)
        try:
            yield RunningProcess(process, directory)
        finally:
            process.kill()
            process.wait()


@asynccontextmanager
async def coordinator(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> AsyncIterator[RunningProcess]:
    """Run the installed script. Only `env` configures it: our own settings are kept from it."""
    async with running([SCRIPT, *arguments], env=env, cwd=cwd) as process:
        yield process


def descendants(pid: int) -> list[int]:
    """The processes below this one, as far as they have not ended."""
    return [each for child in _children(pid) for each in (child, *descendants(child))]


def _children(pid: int) -> Iterator[int]:
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            yield from map(int, (task / "children").read_text().split())


def _spawn(
    command: Sequence[str | Path],
    directory: Path,
    *,
    env: Mapping[str, str] | None,
    cwd: Path | None,
) -> subprocess.Popen[bytes]:
    with (directory / "stdout").open("wb") as stdout, (directory / "stderr").open("wb") as stderr:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**_clean_environment(), **(env or {})},
            cwd=cwd,
        )


def _clean_environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name != "DATABASE_URL" and not name.startswith(("COORDINATOR_", "PG"))
    }


def _parsed(text: str) -> LogLine | None:
    """The log line; None for anything else, such as a line that is only half written."""
    if not text.startswith("{"):
        return None
    try:
        line = json.loads(text)
    except json.JSONDecodeError:
        return None
    return line if isinstance(line, dict) and "event" in line else None
