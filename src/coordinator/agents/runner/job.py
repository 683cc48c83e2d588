"""One run of a wrapped command, from its prompt to its end.

The command runs under a keeper of its own (see `keeper`), which ends all of it as soon as this side
lets go of the leash, or dies. A job is not cancelled with the handoff's body: whoever runs it calls
`end`, and waits until nothing of it is left.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from pathlib import Path
from typing import IO

import anyio

from coordinator.agents.background import background
from coordinator.agents.runner.capture import Capture
from coordinator.agents.runner.given import Given
from coordinator.agents.runner.last_line import LastLine, Stream
from coordinator.agents.runner.profiles import Note
from coordinator.agents.runner.verdicts import Ran

_KEEPER = Path(__file__).with_name("keeper.py")
_STDOUT_KEPT = {"head": 128 * 1024, "tail": 384 * 1024}
_STDERR_KEPT = {"head": 4 * 1024, "tail": 12 * 1024}
_CHUNK = 64 * 1024
_LAST_RESORT_S = 10
"""How long past the grace a keeper may take; it allows itself half of that."""
_REST_OF_OUTPUT_S = 2
"""How long output is read on once everything that could write it has ended."""


class EndedBy(Enum):
    """Why the runner ended a command."""

    TIMEOUT = auto()
    RUNNER = auto()
    HANDOFF = auto()
    """It was cancelled, or the attempt no longer stands."""


@dataclass(frozen=True, slots=True)
class Call:
    """What is to be run, and how."""

    command: Sequence[str]
    cwd: Path
    environ: Mapping[str, str]
    prompt: str
    given: Given
    grace: timedelta


class Job:
    """A command's run. `ran`, `unstartable` and `left` tell of it once `over` is set."""

    def __init__(self, call: Call, *, note: Note) -> None:
        self.over = anyio.Event()
        self.ran = Ran(None)
        self.ended_by: EndedBy | None = None
        self.unstartable: str | None = None
        """Why the command could not be started."""
        self.left = 0
        """How many of its processes could not be ended."""
        self.last_line = LastLine()
        self._call = call
        self._out, self._err = Capture(**_STDOUT_KEPT), Capture(**_STDERR_KEPT)
        self._listeners = (Stream(self.last_line, note), Stream(self.last_line, lambda line: line))
        self._leash: int | None = None
        self._let_go = anyio.Event()
        self._ended_itself = False
        self._has_learned = False

    def end(self, why: EndedBy) -> None:
        """Have everything of it ended: TERM, and KILL after the grace. The first reason counts.

        None does once the command has ended by itself, and only what it left behind is ending.
        """
        if not self._ended_itself and self.ended_by is None:
            self.ended_by = why
        self._let_go.set()
        self._drop_leash()

    def give_up(self, why: str) -> None:
        """Note that it cannot be started, before it is."""
        self.unstartable = why
        self.over.set()

    async def run(self) -> None:
        """Run it to its end; `over` is set in any case."""
        try:
            if self.ended_by is None:
                await self._run()
        finally:
            self._drop_leash()
            if not self._has_learned and self.unstartable is None and self.ended_by is None:
                self.ended_by = EndedBy.RUNNER  # which is ending: what it did nobody knows
            self.over.set()

    async def _run(self) -> None:
        theirs, self._leash = os.pipe()
        report, reporting = os.pipe()
        try:
            keeper = self._keeper(theirs, reporting)
        except OSError as error:
            self.unstartable = f"{error.strerror}: {error.filename}"
            os.close(report)
            return
        finally:
            os.close(theirs)
            os.close(reporting)
        try:
            self._learn(await self._attend(keeper, report))
        finally:
            self._drop_leash()
            os.close(report)
            # Its report has ended, so it ends now; otherwise this program is ending before it.
            with suppress(subprocess.TimeoutExpired):
                keeper.wait(timeout=1)

    def _keeper(self, leash: int, report: int) -> "subprocess.Popen[bytes]":
        call = self._call
        numbers = [str(leash), str(report), str(call.grace.total_seconds())]
        start = [sys.executable, "-I", "-S", str(_KEEPER), *numbers, str(call.given.folder)]
        return subprocess.Popen(
            [*start, *call.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=call.cwd,
            env=dict(call.environ),
            pass_fds=(leash, report),
            start_new_session=True,
        )

    async def _attend(self, keeper: "subprocess.Popen[bytes]", report: int) -> str:
        """Feed it, read it, and wait; return what the keeper reports."""
        streams = [pipe for pipe in (keeper.stdin, keeper.stdout, keeper.stderr) if pipe]
        for pipe in streams:
            os.set_blocking(pipe.fileno(), False)
        out, err = (pipe.fileno() for pipe in streams[1:])
        try:
            async with background() as tasks:
                tasks.start_soon(self._feed, streams[0])
                tasks.start_soon(self._last_resort, keeper)
                async with anyio.create_task_group() as readers:
                    readers.start_soon(_read, out, self._out.add, self._listeners[0].add)
                    readers.start_soon(_read, err, self._err.add, self._listeners[1].add)
                    told: list[bytes] = []
                    await _read(report, told.append, self._hear_end)
                    readers.cancel_scope.deadline = anyio.current_time() + _REST_OF_OUTPUT_S
            return b"".join(told).decode(errors="replace")
        finally:
            for pipe in streams:
                pipe.close()

    async def _feed(self, pipe: IO[bytes]) -> None:
        rest = memoryview(self._call.prompt.encode(errors="replace"))
        # A command need not read what it is told.
        with suppress(BrokenPipeError):
            while rest:
                await anyio.wait_writable(pipe)
                rest = rest[os.write(pipe.fileno(), rest) :]
        pipe.close()

    async def _last_resort(self, keeper: "subprocess.Popen[bytes]") -> None:
        await self._let_go.wait()
        await anyio.sleep(self._call.grace.total_seconds() + _LAST_RESORT_S)
        keeper.kill()

    def _hear_end(self, told: bytes) -> None:
        self._ended_itself = self.ended_by is None and b"unstartable" not in told

    def _learn(self, told: str) -> None:
        self._has_learned = True
        words = dict(line.split(" ", 1) for line in told.splitlines())
        self.unstartable = words.get("unstartable")
        self.left = int(words.get("left", 0))
        number = words.get("signalled", 9 if "exited" not in words else None)
        self.ran = Ran(
            code=int(words["exited"]) if "exited" in words else None,
            number=None if number is None else int(number),
            out=self._out.written(),
            err=self._err.written(),
        )

    def _drop_leash(self) -> None:
        if self._leash is not None:
            os.close(self._leash)
            self._leash = None


async def _read(descriptor: int, *hear: Callable[[bytes], None]) -> None:
    while True:
        await anyio.wait_readable(descriptor)
        chunk = os.read(descriptor, _CHUNK)
        if not chunk:
            return
        for each in hear:
            each(chunk)
