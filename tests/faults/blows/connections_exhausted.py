"""A stranger takes every connection that the server has to give."""

import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

import anyio
import asyncpg

from tests.faults.blows.outage import SHORTEST, drawn
from tests.faults.blows.sessions import sessions_of
from tests.faults.fault import NotStruck
from tests.faults.field import Field
from tests.integration.daemon.beating import LOST
from tests.integration.schema.world import World

_STRANGER = "a stranger"
_LOOK_EVERY_S = 0.01


@dataclass(frozen=True, slots=True)
class ConnectionsExhausted:
    """Sessions that stand are left alone by a lack of new ones, so some of them are ended too."""

    longest: timedelta = timedelta(seconds=2)
    shortest: timedelta = SHORTEST
    ends: int | None = None
    """How many sessions of others it ends; by default, some."""
    holds_locks: bool = False
    name: str = "connections exhausted"

    async def strike(self, field: Field) -> str:
        """Take all, end some, take these as well; the proof is a refusal with 53300."""
        async with AsyncExitStack() as taken:
            world = await taken.enter_async_context(World.on(field.database))
            await _take_all(field, taken)
            ended = await self._end_some(field, world)
            until = time.monotonic() + drawn(field, self.longest, self.shortest)
            refused = 0
            while time.monotonic() < until:
                try:
                    await _take_all(field, taken)
                except LOST as error:
                    raise NotStruck(f"the server has gone as well: {error}") from error
                refused += 1
                await anyio.sleep(_LOOK_EVERY_S)
        return f"ended {ended} sessions and took their places; refused {refused} times with 53300"

    async def _end_some(self, field: Field, world: World) -> int:
        mine = await world.value(
            "select array(select pid from pg_stat_activity where application_name = $1)", _STRANGER
        )
        others = [session for session in await sessions_of(world) if session.pid not in mine]
        count = self.ends if self.ends is not None else field.chance.randint(1, max(len(others), 1))
        for victim in field.chance.sample(others, min(count, len(others))):
            await world.value("select pg_terminate_backend($1)", victim.pid)
        return min(count, len(others))


async def _take_all(field: Field, taken: AsyncExitStack) -> None:
    """Open sessions until the server has no more to give."""
    while True:
        try:
            await taken.enter_async_context(
                field.database.connect(settings={"application_name": _STRANGER})
            )
        except asyncpg.TooManyConnectionsError:
            return
