"""What the daemon's tests share: a database of the test's own, and short words for acting in it."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.schema.world import World
from tests.support.postgres import Database


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    """A connection to the test's database; what it does is committed at once."""
    async with World.on(database) as world:
        yield world
