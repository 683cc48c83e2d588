"""One PostgreSQL program as a child of this process, which it never outlives."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO

import anyio

from coordinator.embedded.identity import CHILD, Identity

SHIM_FAILED = 126
"""The exit code of a child that could not become the program."""

_STOP_WITHIN = timedelta(seconds=10)
_LOOK_EVERY = timedelta(milliseconds=10)

# A server's defaults may come from PGPORT, PGTZ, LANG and the like: it gets none of them.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class ChildProcess:
    """The program; on other systems than Linux also the pipe whose closing would stop it."""

    process: subprocess.Popen[bytes]
    guard: IO[bytes] | None

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    async def stop(self) -> None:
        """End it, politely at first. Nothing happens if it has ended."""
        with anyio.CancelScope(shield=True):
            # PostgreSQL's fast shutdown, its immediate one, and none at all.
            for sign in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                self.process.send_signal(sign)
                if await within(_STOP_WITHIN, lambda: self.has_ended):
                    break
        if self.guard is not None:
            self.guard.close()


def spawn(
    program: Path,
    arguments: Sequence[str],
    *,
    identity: Identity,
    directory: Path,
    log: Path,
    keep: Sequence[int] = (),
) -> ChildProcess:
    """Run the program in `directory` with its output in `log`, which is emptied first.

    It inherits the descriptors in `keep`. Call this from the main thread: Linux ends the child
    together with the thread that forked it.
    """
    theirs, ours = (None, None) if sys.platform == "linux" else _pipe()
    guard = f"kernel:{os.getpid()}" if theirs is None else f"pipe:{theirs}"
    shim = [sys.executable, "-I", "-S", str(CHILD), identity.argument, guard, str(directory)]
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*shim, str(program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_ENVIRONMENT,
                pass_fds=[*keep, *([] if theirs is None else [theirs])],
                # Control-C at the terminal is for us; we stop the server in good order.
                start_new_session=True,
            )
    finally:
        if theirs is not None:
            os.close(theirs)
    return ChildProcess(process, ours)


async def within(limit: timedelta, condition: Callable[[], bool]) -> bool:
    """Look every few milliseconds; True once the condition holds, False at the limit."""
    if condition():
        return True
    with anyio.move_on_after(limit.total_seconds()):
        while not condition():  # noqa: ASYNC110 - other processes and files ring no bell
            await anyio.sleep(_LOOK_EVERY.total_seconds())
        return True
    return False


def _pipe() -> tuple[int, IO[bytes]]:
    theirs, ours = os.pipe()
    return theirs, os.fdopen(ours, "wb")
