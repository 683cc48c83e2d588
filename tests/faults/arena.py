"""Daemons and agents as real processes, somebody who kills them, and somebody who starts them anew.

The database is killed too: one session at a time, in order (`pg_terminate_backend`) or by SIGKILL,
which takes all sessions and the server's memory along.
"""

import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import anyio

from tests.integration.daemon.beating import LOST
from tests.integration.daemon.daemons import daemon, event_numbers
from tests.integration.schema.world import World
from tests.support.postgres import Database
from tests.support.processes import RunningProcess, running

TIMINGS: Mapping[str, str] = {
    "heartbeat_interval": "1s",
    "stale_after": "3s",
    "take_back_after": "3s",
    "accept_timeout": "2s",
    "sweep_interval": "200ms",
    "safety_poll": "1s",
    "tail_interval": "500ms",
    "leader_poll": "200ms",
    "leader_stale_after": "2s",
}
_WORKER = Path(__file__).with_name("worker.py")
_OURS = ("coordinator %", "agent %")
_LONGEST_ABSENCE_S = 1.0
_FOREVER = timedelta(days=1)

Answer = TypeVar("Answer")
Spawn = Callable[[], AbstractAsyncContextManager[RunningProcess]]


@dataclass(slots=True)
class Member:
    """One daemon or one agent: a process, and after each kill the next one."""

    name: str
    spawn: Spawn
    process: RunningProcess | None = None
    retired: bool = False
    logged: Counter[int] = field(default_factory=Counter)

    async def serve(self, chance: random.Random) -> None:
        """Run it, and start it anew some time after each of its ends, until it is retired."""
        while not self.retired:
            async with self.spawn() as process:
                self.process = process
                await process.wait(within=_FOREVER)
                self.logged.update(event_numbers(process))
                self.process = None
            await anyio.sleep(chance.uniform(0, _LONGEST_ABSENCE_S))  # its absence

    def kill(self) -> bool:
        """Kill it at whatever it does; False if it does not run."""
        if self.process is None or self.process.process.poll() is not None:
            return False
        self.process.kill()
        return True

    def retire(self) -> None:
        """Kill it for good."""
        self.retired = True
        self.kill()


@dataclass(slots=True)
class Arena:
    """All that runs, and the dice."""

    database: Database
    members: list[Member]
    chance: random.Random
    killed: Counter[str] = field(default_factory=Counter)

    @property
    def logged(self) -> Counter[int]:
        """How often each transition was logged, by all daemons together."""
        logged: Counter[int] = Counter()
        for member in self.members:
            logged += member.logged
            if member.process is not None:
                logged.update(event_numbers(member.process))
        return logged

    async def kill_somebody(self) -> None:
        """Kill a random member, or a random session of one."""
        if self.chance.random() < 1 / 3:
            await self.ask(self._kill_session)
            return
        victim = self.chance.choice(self.members)
        self.killed[victim.name.partition("-")[0]] += victim.kill()

    async def ask(self, question: Callable[[World], Awaitable[Answer]]) -> Answer:
        """Ask the database, again and again while it is away."""
        while True:
            try:
                async with World.on(self.database) as world:
                    return await question(world)
            except LOST:
                await anyio.sleep(0.05)  # the server recovers

    async def _kill_session(self, world: World) -> None:
        pids = await world.value(
            "select array_agg(pid order by pid) from pg_stat_activity"
            " where datname = current_database() and application_name like any ($1)",
            list(_OURS),
        )
        if not pids:
            return
        victim = self.chance.choice(pids)
        if self.chance.random() < 1 / 5:
            self.killed["server"] += 1
            os.kill(victim, signal.SIGKILL)
        else:
            self.killed["session"] += 1
            await world.value("select pg_terminate_backend($1)", victim)


@asynccontextmanager
async def arena(
    database: Database, chance: random.Random, *, daemons: int, agents: int
) -> AsyncIterator[Arena]:
    """Run so many daemons and agents until the end of the block."""
    members = [
        *(Member(f"daemon-{n}", lambda: daemon(database, TIMINGS)) for n in range(daemons)),
        *(_agent(database, f"agent-{n}") for n in range(agents)),
    ]
    async with anyio.create_task_group() as running_members:
        for member in members:
            running_members.start_soon(member.serve, random.Random(chance.random()))
        yield Arena(database, members, chance)
        running_members.cancel_scope.cancel()


def _agent(database: Database, name: str) -> Member:
    command: list[str | Path] = [sys.executable, _WORKER, database.dsn, name]
    return Member(name, lambda: running(command, cwd=_WORKER.parents[2]))
