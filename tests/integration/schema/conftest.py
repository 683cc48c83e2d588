"""Databases for the schema's tests: one a test, or one that all leave as it was."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.schema.mutation import wound
from tests.integration.schema.world import World
from tests.support.postgres import Cluster, Database


@pytest.fixture
async def database(cluster: Cluster) -> AsyncIterator[Database]:
    """A migrated database of the test's own, wounded if a mutation test asks for it."""
    async with cluster.database() as database:
        await wound(database)
        yield database


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def common_database(cluster: Cluster) -> AsyncIterator[Database]:
    """A migrated database in which nobody ever commits."""
    async with cluster.database() as database:
        await wound(database)
        yield database


@pytest.fixture
async def world(common_database: Database) -> AsyncIterator[World]:
    """A transaction that is rolled back in the end: for tests that need one connection only."""
    async with World.on(common_database) as world, world.savepoint():
        yield world


@pytest.fixture
async def committed(database: Database) -> AsyncIterator[World]:
    """A connection to a database of the test's own: for notifications and several connections."""
    async with World.on(database) as world:
        yield world
