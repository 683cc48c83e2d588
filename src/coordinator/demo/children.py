"""The processes of one show, each tied to this one's life: none outlives it, however it ends."""

import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, Signals

import anyio
from anyio.abc import Process, TaskGroup

from coordinator.agents.background import background
from coordinator.core.errors import CoordinatorError
from coordinator.embedded.identity import CHILD

_STOP_WITHIN = timedelta(seconds=12)
"""Longer than the daemon's drain grace, and than an agent's goodbye."""


class ChildEnded(CoordinatorError):
    """A process of ours ended although nobody had asked it to."""


@dataclass(slots=True)
class Child:
    """One process. Its output goes where ours goes."""

    name: str
    process: Process
    _guard: int | None
    """The end of a pipe whose closing ends the child, where the kernel cannot do that."""
    _is_wanted: bool = field(default=True, init=False)

    @property
    def pid(self) -> int:
        return self.process.pid

    async def kill(self) -> None:
        """End it with SIGKILL, as a crash would: it has no chance to say goodbye."""
        self._is_wanted = False
        self.process.kill()
        await self._ended()

    async def stop(self) -> None:
        """Ask it to end, and end it if it does not. Nothing happens if it has ended."""
        self._is_wanted = False
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(_STOP_WITHIN.total_seconds()), suppress(ProcessLookupError):
                self.process.terminate()
                await self.process.wait()
            with suppress(ProcessLookupError):
                self.process.kill()
            await self._ended()

    async def watch(self) -> None:
        """Return once it has ended as it was asked to; raise ChildEnded if it was not asked."""
        code = await self.process.wait()
        if self._is_wanted:
            raise ChildEnded(f"{self.name} (process {self.pid}) ended with exit code {code}")

    async def _ended(self) -> None:
        await self.process.wait()
        await self.process.aclose()
        if self._guard is not None:
            os.close(self._guard)
            self._guard = None


class Children:
    """The processes of one show; one that ends unasked ends the show."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._children: list[Child] = []

    @classmethod
    @asynccontextmanager
    async def raised(cls) -> AsyncIterator["Children"]:
        """A family without members yet; all are stopped at the end, the youngest first."""
        async with background() as tasks:
            family = cls(tasks)
            try:
                yield family
            finally:
                await family.stop_all()

    async def start(self, name: str, arguments: Sequence[str], env: Mapping[str, str]) -> Child:
        """Run this very interpreter with `arguments`. Call it from the main thread only:

        Linux ties the child's life to the thread that forked it.
        """
        theirs, ours = (None, None) if sys.platform == "linux" else os.pipe()
        guard = f"kernel:{os.getpid()}" if theirs is None else f"pipe:{theirs}"
        shim = [sys.executable, "-I", "-S", str(CHILD), "self", guard, str(Path.cwd())]
        try:
            process = await anyio.open_process(
                # -P: a file of the user's in the working directory must not shadow a module.
                [*shim, sys.executable, "-P", *arguments],
                stdin=None,
                stdout=None,
                stderr=None,
                env=env,
                pass_fds=() if theirs is None else (theirs,),
                # Control-C at the terminal is for us; we end the children in good order.
                start_new_session=True,
            )
        finally:
            if theirs is not None:
                os.close(theirs)
        child = Child(name, process, ours)
        self._children.append(child)
        self._tasks.start_soon(child.watch)
        return child

    async def stop_all(self) -> None:
        """Stop whoever is left."""
        while self._children:
            await self._children[-1].stop()
            self._children.pop()


@dataclass(slots=True)
class Interruption:
    """Which signal ended the block, if one did."""

    signal: Signals | None = None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended."""
        return 0 if self.signal is None else 128 + self.signal


@asynccontextmanager
async def interruptible() -> AsyncIterator[Interruption]:
    """Cancel the block at SIGINT, SIGTERM or SIGHUP; later signals do not disturb its cleaning up.

    Open it before any child is started: the children of a process that ignores SIGINT ignore it.
    """
    interruption = Interruption()
    with anyio.open_signal_receiver(SIGINT, SIGTERM, SIGHUP) as signals:
        async with background() as tasks:

            async def wait() -> None:
                async for number in signals:
                    interruption.signal = number
                    tasks.cancel_scope.cancel()

            tasks.start_soon(wait)
            yield interruption
