"""A server that notes every statement and who sent it, and strangers that notify without end."""

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from tests.support.postgres import Cluster, Database, migrated_cluster, throw_away_server

_NOTES = {"log_statement": "all", "log_line_prefix": "%d|%a|"}


@dataclass(slots=True)
class Talk:
    """What a stretch of time has cost the server."""

    statements: Counter[str]
    """By application name."""
    seconds: float


@asynccontextmanager
async def talkative_cluster() -> AsyncIterator[Cluster]:
    """A throw-away server with a migrated template, whose log has every statement."""
    async with throw_away_server(settings=_NOTES) as server:
        yield await migrated_cluster(server)


async def talk(database: Database, *, seconds: float) -> Talk:
    """Listen to the server for so long."""
    before, began = _statements(database), time.monotonic()
    await anyio.sleep(seconds)
    lasted = time.monotonic() - began
    return Talk(_statements(database) - before, lasted)


@asynccontextmanager
async def flooded(database: Database, statement: str) -> AsyncIterator[None]:
    """Let a second login, with no right to anything, run this again and again in the block."""
    role = f"mallory_of_{database.name}"
    async with database.connect() as owner:
        await owner.execute(f"create role {role} login")
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_keep_on, database, role, statement)
                yield
                tasks.cancel_scope.cancel()
        finally:
            await owner.execute(f"drop role {role}")


async def _keep_on(database: Database, role: str, statement: str) -> None:
    async with database.connect(user=role) as stranger:
        while True:
            await stranger.execute(statement)


def _statements(database: Database) -> Counter[str]:
    found: Counter[str] = Counter()
    with database.server.log.open(errors="replace") as log:
        for line in log:
            of, bar, rest = line.partition("|")
            if (
                bar
                and of == database.name
                and ("|LOG:  execute" in rest or "LOG:  statement" in rest)
            ):
                found[rest.partition("|")[0]] += 1
    return found
