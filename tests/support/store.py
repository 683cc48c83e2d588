"""The store's own connection, opened for a test and closed behind it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from coordinator.store.connection import Connection
from coordinator.store.dsn import connect_target


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Connection]:
    """A connection as the commands have one."""
    connection = await Connection.open(connect_target(dsn), application_name="test")
    try:
        yield connection
    finally:
        await connection.close()
