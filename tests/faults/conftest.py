"""A second server, which a test may stop, freeze and kill."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.schema.world import World
from tests.support.postgres import Cluster, Database, throw_away_cluster

_HERE = Path(__file__).parent
_STRIKE_NOTHING = {"test_checker.py", "test_evidence.py", "test_overtaking.py", "test_wires.py"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave faults to the slow tests: each takes seconds, and all of them minutes."""
    for item in items:
        is_fault = item.path.parent == _HERE and item.path.name not in _STRIKE_NOTHING
        if is_fault and item.get_closest_marker("soak") is None:
            item.add_marker(pytest.mark.slow)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def own_cluster() -> AsyncIterator[Cluster]:
    """A second server of this worker, for one test at a time; it is launched for each anew."""
    async with throw_away_cluster() as cluster:
        yield cluster


@pytest.fixture
async def own_database(own_cluster: Cluster) -> AsyncIterator[Database]:
    """A migrated database on the server that the test may stop."""
    if own_cluster.server.pid is None:
        await own_cluster.server.launch()
    async with own_cluster.database() as database:
        yield database


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    """A connection to the test's database; what it does is committed at once."""
    async with World.on(database) as world:
        yield world
