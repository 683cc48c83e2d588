"""What a fault may break: a server, daemons and clients as real processes, and the dice."""

import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio

from coordinator.embedded import PrivateServer
from tests.integration.daemon.beating import LOST
from tests.integration.schema.world import World
from tests.support.postgres import Database
from tests.support.processes import RunningProcess
from tests.support.waiting import eventually

Answer = TypeVar("Answer")
Spawn = Callable[[], AbstractAsyncContextManager[RunningProcess]]

_FOREVER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class LoggedReign:
    """The numbers of the transitions that one leader logged, in the order of its lines."""

    term: int
    numbers: list[int]


@dataclass(slots=True)
class Member:
    """One daemon, or one process of clients; after each of its ends the next one is started."""

    name: str
    spawn: Spawn
    longest_absence_s: float = 1.0
    process: RunningProcess | None = None
    retired: bool = False
    lives: int = 0
    reigns: list[LoggedReign] = field(default_factory=list)
    """What its ended lives have logged."""

    async def serve(self, chance: random.Random) -> None:
        """Run it, and start it anew some time after each of its ends, until it is retired."""
        while not self.retired:
            async with self.spawn() as process:
                self.process = process
                self.lives += 1
                await process.wait(within=_FOREVER)
                self.reigns.extend(logged_reigns(process))
                self.process = None
            await anyio.sleep(chance.uniform(0, self.longest_absence_s))  # its absence

    @property
    def pid(self) -> int | None:
        """The process that runs now, if any."""
        if self.process is None or self.process.process.poll() is not None:
            return None
        return self.process.pid

    @property
    def logged(self) -> list[LoggedReign]:
        """What it has logged, in all its lives."""
        return [*self.reigns, *(logged_reigns(self.process) if self.process else [])]

    def kill(self, sign: signal.Signals = signal.SIGKILL) -> bool:
        """Send it a signal, whatever it does; False if it does not run."""
        if self.pid is None or self.process is None:
            return False
        self.process.kill(sign)
        return True

    async def dismiss(self, within: timedelta) -> None:
        """Ask it to end for good, and wait until it has."""
        self.retired = True
        if self.process is not None:
            self.process.kill(signal.SIGTERM)
            # -15 where Python had not even begun to listen to signals.
            ended = await self.process.wait(within=within)
            assert ended in {0, -signal.SIGTERM}, str(self.process)

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
    agents: list[Member]
    senders: list[Member]
    notes: Path
    """Where the clients write what they see; see `history`."""

    @property
    def server(self) -> PrivateServer:
        """The server: `pid`, `stop()`, `launch()`, `log`."""
        return self.database.server

    @property
    def clients(self) -> list[Member]:
        """All that is not a daemon."""
        return [*self.agents, *self.senders]

    async def quiesce(self, within: timedelta) -> None:
        """Let the senders resolve what they have begun, and the agents finish all there is.

        A busy machine may leave a long queue: `within` is for the next handoff to end, not for all.
        """
        for sender in self.senders:
            await sender.dismiss(within)
        while (progress := await self.ask(_progress)).left:
            try:
                await eventually(partial(self._has_gone_on, progress), within=within)
            except AssertionError as error:
                error.add_note(f"left: {await self.ask(_what_is_left)}")
                raise

    async def _has_gone_on(self, before: "_Progress") -> bool:
        now = await self.ask(_progress)
        return not now.left or now.ended > before.ended

    async def drain(self, within: timedelta) -> list[LoggedReign]:
        """Stop the daemons; return what they have logged in all, in the order of their terms.

        The agents end first, and the daemons only when they have logged all there is.
        """
        for agent in self.agents:
            agent.retire()
        await eventually(lambda: self.ask(_everybody_is_blocked), within=within)
        last = await self.ask(_last_event)
        await eventually(lambda: self._has_logged(last), within=within)
        for one in self.daemons:
            await one.dismiss(within)
        return self.logged

    @property
    def logged(self) -> list[LoggedReign]:
        """What all daemons have logged, in the order of their terms."""
        reigns = [reign for one in self.daemons for reign in one.logged]
        return sorted(reigns, key=lambda reign: reign.term)

    async def _has_logged(self, number: int) -> bool:
        return any(number in reign.numbers for reign in reversed(self.logged))

    async def ask(self, question: Callable[[World], Awaitable[Answer]]) -> Answer:
        """Ask the database, again and again while it is away."""
        while True:
            try:
                async with World.on(self.database) as world:
                    return await question(world)
            except LOST:
                await anyio.sleep(0.05)  # the server recovers


@dataclass(frozen=True, slots=True)
class _Progress:
    left: int
    ended: int


async def _progress(world: World) -> _Progress:
    [row] = await world.rows(
        "select count(*) filter (where status <> 'completed') as left,"
        " count(*) filter (where status = 'completed') as ended from handoffs"
    )
    return _Progress(**row)


async def _what_is_left(world: World) -> list[str]:
    rows = await world.rows(
        "select h::text, a::text from handoffs h"
        " left join agent_status a on a.agent_name in (h.to_agent, h.assigned_agent)"
        " where h.status <> 'completed' limit 10"
    )
    return [str(tuple(row)) for row in rows]


async def _everybody_is_blocked(world: World) -> bool:
    # From then on nothing happens any more that would have to be logged.
    return bool(
        await world.value("select not exists (select from agent_status where status <> 'blocked')")
    )


async def _last_event(world: World) -> int:
    return int(await world.value("select coalesce(max(sequence), 0) from coordination_events"))


def logged_reigns(process: RunningProcess) -> list[LoggedReign]:
    """What a daemon logged, reign by reign; terms order the reigns of all daemons."""
    reigns: list[LoggedReign] = []
    for line in process.lines:
        if line.get("event") == "leadership.acquired":
            reigns.append(LoggedReign(line["term"], []))
        elif "event_number" in line:
            reigns[-1].numbers.append(line["event_number"])
    return reigns
