"""A terminal for programs that want one: it reads all they draw, and answers what they ask it."""

import fcntl
import os
import re
import signal
import struct
import subprocess
import termios
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from tests.support.processes import descendants

_ROWS, _COLUMNS = 40, 140
_QUESTIONS = {
    b"\x1b[6n": b"\x1b[1;1R",  # where is the cursor?
    b"\x1b[c": b"\x1b[?62;c",  # which terminal are you?
    b"\x1b]10;?\x1b\\": b"\x1b]10;rgb:ffff/ffff/ffff\x1b\\",  # which colours?
    b"\x1b]11;?\x1b\\": b"\x1b]11;rgb:0000/0000/0000\x1b\\",
}
_SEQUENCE = re.compile(rb"\x1b(\[[0-9;?<=>]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_78])")
_BLANKS = re.compile(r"\s+")


@dataclass(slots=True)
class Terminal:
    """What a program has drawn so far, and its keyboard."""

    process: "subprocess.Popen[bytes]"
    keyboard: int
    drawn: bytearray = field(default_factory=bytearray)

    @property
    def text(self) -> str:
        """All that was drawn, in order, without the sequences that move and colour it."""
        return _BLANKS.sub(" ", _SEQUENCE.sub(b" ", bytes(self.drawn)).decode(errors="replace"))

    def type(self, text: str) -> None:
        """Type on the keyboard."""
        os.write(self.keyboard, text.encode())


@asynccontextmanager
async def in_a_terminal(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path
) -> AsyncIterator[Terminal]:
    """Run a program in a terminal; all of it is killed at the end."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", _ROWS, _COLUMNS, 0, 0))
    process = _spawned(command, theirs, env=env, cwd=cwd)
    os.close(theirs)
    terminal = Terminal(process, ours)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_keep_reading, terminal)
            yield terminal
            tasks.cancel_scope.cancel()
    finally:
        for pid in [process.pid, *descendants(process.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        os.close(ours)


def _spawned(
    command: Sequence[str], terminal: int, *, env: Mapping[str, str], cwd: Path
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        list(command),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={"TERM": "xterm-256color", **env},
        cwd=cwd,
        start_new_session=True,
    )


async def _keep_reading(terminal: Terminal) -> None:
    while True:
        await anyio.wait_readable(terminal.keyboard)
        try:
            chunk = os.read(terminal.keyboard, 65536)
        except OSError:  # the program has ended
            return
        terminal.drawn += chunk
        for question, answer in _QUESTIONS.items():
            for _ in range(chunk.count(question)):
                os.write(terminal.keyboard, answer)
