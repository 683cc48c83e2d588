"""A real PostgreSQL for the tests: one throw-away server a worker, one database a test."""

import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from coordinator.embedded import PrivateServer, ServerBinaries, find_binaries
from coordinator.store.halves import Half
from coordinator.store.migrations import migrations

MIGRATIONS = Path(__file__).parents[2] / "schema" / "supabase" / "migrations"

TEMPLATE = "migrated"

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    # Only the stubs know it as generic.
    Connection = asyncpg.Connection

THROW_AWAY = {
    "max_connections": "300",
    "max_prepared_transactions": "10",
    # Databases come and go all the time here; the statistics of idle ones need no visits.
    "autovacuum_naptime": "1min",
}


@dataclass(frozen=True, slots=True)
class Database:
    """One database of the test's own."""

    name: str
    server: PrivateServer

    @property
    def dsn(self) -> str:
        """The superuser's way in."""
        return self.server.dsn(self.name)

    def dsn_as(self, user: str) -> str:
        """Another role's way in. Roles belong to the server: all tests of a worker share them."""
        return self.server.dsn(self.name, user=user)

    @asynccontextmanager
    async def connect(
        self, *, user: str | None = None, settings: Mapping[str, str] | None = None
    ) -> AsyncIterator[Connection]:
        """A connection of its own, closed at the end of the block."""
        dsn = self.dsn if user is None else self.dsn_as(user)
        connection = await asyncpg.connect(dsn, server_settings=dict(settings or {}))
        try:
            yield connection
        finally:
            # A close waits for the server, which a test may have stopped.
            connection.terminate()


@dataclass(slots=True)
class Cluster:
    """The worker's server, and the template that the tests' databases are copied from."""

    server: PrivateServer
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @asynccontextmanager
    async def database(
        self, *, template: str = TEMPLATE, owner: str = "postgres"
    ) -> AsyncIterator[Database]:
        """A new copy of the template, dropped at the end with whoever is still connected."""
        database = Database(f"test_{next(self._numbers)}", self.server)
        await self.admin(f"create database {database.name} template {template} owner {owner}")
        try:
            yield database
        finally:
            if self.server.pid is None:
                await self.server.launch()
            await self.admin(f"drop database {database.name} with (force)")

    async def admin(self, *statements: str) -> None:
        """Run each statement by itself, outside any transaction."""
        async with Database("postgres", self.server).connect() as connection:
            for statement in statements:
                await connection.execute(statement)


@asynccontextmanager
async def throw_away_server(
    binaries: ServerBinaries | None = None, settings: Mapping[str, str] | None = None
) -> AsyncIterator[PrivateServer]:
    """A server that may be stopped, killed and launched again, and leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="coordinator-test-") as directory:
        async with PrivateServer.start(
            Path(directory, "server"),
            binaries or chosen_binaries(),
            settings={**THROW_AWAY, **(settings or {})},
            durable=False,
        ) as server:
            yield server


@asynccontextmanager
async def throw_away_cluster() -> AsyncIterator[Cluster]:
    """A throw-away server with a migrated template."""
    async with throw_away_server() as server:
        yield await migrated_cluster(server)


async def migrated_cluster(server: PrivateServer) -> Cluster:
    """Make the template on a new server."""
    cluster = Cluster(server)
    await cluster.admin(f"create database {TEMPLATE}")
    async with Database(TEMPLATE, server).connect() as connection:
        await migrate(connection)
    await cluster.admin(f"alter database {TEMPLATE} is_template true")
    return cluster


def migration_files(half: Half) -> list[Path]:
    """The files of one half, in the order of their names."""
    return [MIGRATIONS / migration.file_name for migration in migrations(half)]


async def migrate(connection: Connection, files: Iterable[Path] | None = None) -> None:
    """Apply the coordination half as psql would: in the order of names, one transaction a file."""
    for file in migration_files(Half.COORDINATION) if files is None else files:
        try:
            async with connection.transaction():
                await connection.execute(file.read_text())
        except asyncpg.PostgresError as error:
            error.add_note(f"in {file.name}, at character {_position(error)}")
            raise


def chosen_binaries() -> ServerBinaries:
    """COORDINATOR_TEST_PG_BIN if set, as in the matrix, else 15 if there is one, else any."""
    given = os.environ.get("COORDINATOR_TEST_PG_BIN")
    return find_binaries(Path(given) if given else None, prefer_major=15)


def _position(error: asyncpg.PostgresError) -> Any:
    return getattr(error, "position", None)
