"""One private PostgreSQL with full durability, and a database of its own for each contender."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import asyncpg

from benchmarks.contest import Fact, demand
from benchmarks.stage import SCRIPT, environment
from coordinator.embedded import PrivateServer, find_binaries

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

_MAJOR = 15
_DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
_ROOMY = {
    "max_connections": "300",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
}
"""Room for everybody, and no checkpoint in the middle of somebody's round."""
_TOLD = (*_DURABLE, "wal_sync_method", "autovacuum", "jit", *_ROOMY)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The server that all contenders share."""

    server: PrivateServer
    directory: Path

    def dsn(self, database: str) -> str:
        """How to connect to a contender's database."""
        return self.server.dsn(database)

    async def create(self, database: str) -> str:
        """Make an empty database; return how to connect to it."""
        async with connected(self.dsn("postgres")) as connection:
            await connection.execute(f'create database "{database}"')
        return self.dsn(database)

    async def create_ours(self, database: str) -> str:
        """Make a database with our schema; return how to connect to it."""
        dsn = await self.create(database)
        await anyio.run_process([SCRIPT, "migrate"], env=environment(dsn))
        return dsn

    async def settle(self) -> None:
        """Write out what earlier rounds have left in memory, so that nobody pays for others."""
        async with connected(self.dsn("postgres")) as connection:
            await connection.execute("checkpoint")

    async def settings(self) -> dict[str, str]:
        """Ask the server for what it runs with; raise Mismatch where that is not durable."""
        async with connected(self.dsn("postgres")) as connection:
            told = {
                name: await connection.fetchval("select current_setting($1)", name)
                for name in ("server_version", *_TOLD)
            }
        facts = [Fact(name, value, told[name]) for name, value in _DURABLE.items()]
        major = Fact("server_version", str(_MAJOR), told["server_version"].split(".")[0])
        demand([*facts, major], of="the server's settings")
        return told


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    """Run a server until the end of the block, and throw its data away."""
    with tempfile.TemporaryDirectory(prefix="coordinator-bench-") as name:
        directory = Path(name)
        binaries = find_binaries(prefer_major=_MAJOR)
        async with PrivateServer.start(directory / "server", binaries, settings=_ROOMY) as server:
            found = Cluster(server, directory)
            await found.settings()
            yield found


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator["Connection"]:
    """Connect by asyncpg until the end of the block."""
    connection: Connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()
