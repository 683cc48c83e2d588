"""A transaction that lasts: nothing that it might see may be cleaned away, and xids pile up."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import anyio
import asyncpg

from tests.faults.blows.outage import SHORTEST, drawn
from tests.faults.fault import NotStruck
from tests.faults.field import Field
from tests.integration.schema.world import World
from tests.support.postgres import Database

Hold = Callable[[Field], AbstractAsyncContextManager[str]]


@asynccontextmanager
async def by_a_snapshot(field: Field) -> AsyncIterator[str]:
    """A transaction in the same database, with an xid and a snapshot of its own."""
    async with World.on(field.database) as world, world.savepoint():
        await world.execute("set transaction isolation level repeatable read")
        yield await _take_xid(world)


@asynccontextmanager
async def by_another_database(field: Field) -> AsyncIterator[str]:
    """A writer in another database of the same server: it holds `pg_snapshot_xmin` back as well."""
    async with World.on(Database("postgres", field.server)) as world, world.savepoint():
        yield await _take_xid(world)


@asynccontextmanager
async def by_a_prepared_transaction(field: Field) -> AsyncIterator[str]:
    """A transaction that waits for the second half of a two-phase commit; no session holds it."""
    name = f"horizon-{field.chance.getrandbits(64):x}"
    try:
        async with World.on(field.database) as world:
            await world.execute("begin")
            xid = await _take_xid(world)
            await world.execute(f"prepare transaction '{name}'")
        yield xid
    finally:
        with anyio.CancelScope(shield=True):
            await field.ask(lambda world: _forget(world, name))


WAYS: tuple[Hold, ...] = (by_a_snapshot, by_another_database, by_a_prepared_transaction)


@dataclass(frozen=True, slots=True)
class HorizonHeld:
    """A report that runs for hours, a forgotten terminal, a two-phase commit without its end."""

    longest: timedelta = timedelta(seconds=3)
    shortest: timedelta = SHORTEST
    ways: tuple[Hold, ...] = WAYS
    """One of them is drawn."""
    holds_locks: bool = False
    name: str = "horizon held"

    async def strike(self, field: Field) -> str:
        """Hold it and let go; the proof is that its xid stayed the oldest while others came."""
        way = field.chance.choice(self.ways)
        try:
            async with way(field) as xid:
                await anyio.sleep(
                    drawn(field, self.longest, self.shortest)
                )  # the transaction itself
                oldest, next_xid = await field.ask(_horizon)
        except asyncpg.ObjectNotInPrerequisiteStateError as error:
            raise NotStruck(str(error)) from error
        if int(oldest) > int(xid):
            raise NotStruck(f"{xid} did not hold the horizon, which is at {oldest}")
        return f"{way.__name__}: {xid} held the horizon while {int(next_xid) - int(xid)} xids began"


async def _take_xid(world: World) -> str:
    return str(await world.value("select pg_current_xact_id()::text"))


async def _forget(world: World, name: str) -> None:
    if await world.value("select exists (select from pg_prepared_xacts where gid = $1)", name):
        await world.execute(f"rollback prepared '{name}'")


async def _horizon(world: World) -> tuple[str, str]:
    [row] = await world.rows(
        "select pg_snapshot_xmin(s)::text, pg_snapshot_xmax(s)::text from pg_current_snapshot() s"
    )
    return row[0], row[1]
