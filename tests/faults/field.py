"""What a fault may break: a server, daemons and clients as real processes, and the dice."""

import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import anyio

from coordinator.embedded import PrivateServer
from tests.integration.daemon.beating import LOST
from tests.integration.schema.world import World
from tests.support.postgres import Database
from tests.support.processes import RunningProcess

Answer = TypeVar("Answer")
Spawn = Callable[[], AbstractAsyncContextManager[RunningProcess]]

_FOREVER = timedelta(days=1)


@dataclass(slots=True)
class Member:
    """One daemon, or one process of clients; after each of its ends the next one is started."""

    name: str
    spawn: Spawn
    longest_absence_s: float = 1.0
    process: RunningProcess | None = None
    retired: bool = False
    lives: int = 0
    segments: list[list[int]] = field(default_factory=list)
    """Numbers of the transitions that each ended life logged, as reigns; see `logged_segments`."""

    async def serve(self, chance: random.Random) -> None:
        """Run it, and start it anew some time after each of its ends, until it is retired."""
        while not self.retired:
            async with self.spawn() as process:
                self.process = process
                self.lives += 1
                await process.wait(within=_FOREVER)
                self.segments.extend(logged_segments(process))
                self.process = None
            await anyio.sleep(chance.uniform(0, self.longest_absence_s))  # its absence

    @property
    def pid(self) -> int | None:
        """The process that runs now, if any."""
        if self.process is None or self.process.process.poll() is not None:
            return None
        return self.process.pid

    def kill(self, sign: signal.Signals = signal.SIGKILL) -> bool:
        """Send it a signal, whatever it does; False if it does not run."""
        if self.pid is None or self.process is None:
            return False
        self.process.kill(sign)
        return True

    def retire(self) -> None:
        """Kill it for good."""
        self.retired = True
        self.kill()


@dataclass(slots=True)
class Field:
    """All that runs in one test."""

    chance: random.Random
    database: Database
    """The referee's way in, by unix socket: no network fault reaches it."""
    daemons: list[Member]
    clients: list[Member]
    notes: Path
    """Where the clients write what they see; see `history`."""

    @property
    def server(self) -> PrivateServer:
        """The server: `pid`, `stop()`, `launch()`, `log`."""
        return self.database.server

    async def ask(self, question: Callable[[World], Awaitable[Answer]]) -> Answer:
        """Ask the database, again and again while it is away."""
        while True:
            try:
                async with World.on(self.database) as world:
                    return await question(world)
            except LOST:
                await anyio.sleep(0.05)  # the server recovers


def logged_segments(process: RunningProcess) -> list[list[int]]:
    """The numbers of the transitions that a daemon logged, one list for each of its reigns."""
    segments: list[list[int]] = [[]]
    for line in process.lines:
        if line.get("event") == "leadership.acquired":
            segments.append([])
        elif "event_number" in line:
            segments[-1].append(line["event_number"])
    return [segment for segment in segments if segment]
