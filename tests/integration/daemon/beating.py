"""Agents that only beat, all over one connection, and come back after every outage."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID, uuid4

import anyio
import asyncpg

from tests.integration.schema.world import Life
from tests.support.postgres import Connection, Database

LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises when the server goes away."""

_BEAT = timedelta(milliseconds=250)
_BACK_AFTER = timedelta(seconds=1)
"""Agents come back later than the daemon does, so that it meets their silence first."""


@asynccontextmanager
async def beating_agents(
    database: Database,
    *names: str,
    every: timedelta = _BEAT,
    back_after: timedelta = _BACK_AFTER,
) -> AsyncIterator[list[Life]]:
    """Register agents that share an incarnation, and let them beat until the end of the block.

    After a lost connection they wait for `back_after` before each try to connect anew.
    """
    incarnation = uuid4()
    async with database.connect() as connection:
        await connection.execute(
            "select from unnest($1::text[]) name, register_agent(name, $2)", names, incarnation
        )
    async with anyio.create_task_group() as hearts:
        hearts.start_soon(_keep_beating, database, names, incarnation, every, back_after)
        yield [Life(name, incarnation) for name in names]
        hearts.cancel_scope.cancel()


async def _keep_beating(
    database: Database,
    names: Sequence[str],
    incarnation: UUID,
    every: timedelta,
    back_after: timedelta,
) -> None:
    while True:
        try:
            async with database.connect() as connection:
                await _beat(connection, names, incarnation, every)
        except LOST:
            await anyio.sleep(back_after.total_seconds())


async def _beat(
    connection: Connection, names: Sequence[str], incarnation: UUID, every: timedelta
) -> None:
    while True:
        await connection.fetch("select from heartbeat_many($1, $2)", names, incarnation)
        await anyio.sleep(every.total_seconds())
