"""The small world of the matrix and the attacks; files with a world of their own say so."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.business.matrix import Seeded, World, small_world
from tests.support.postgres import Cluster
from tests.support.supabase import Defaults


@pytest_asyncio.fixture(
    scope="module", loop_scope="session", params=list(Defaults), ids=lambda d: f"{d}_project"
)
async def seeded(projects: Cluster, request: pytest.FixtureRequest) -> AsyncIterator[Seeded]:
    """A project of either kind with the small world in it, in which nobody ever commits."""
    async with small_world(projects, request.param) as seeded:
        yield seeded


@pytest.fixture
async def world(seeded: Seeded) -> AsyncIterator[World]:
    async with seeded.world() as world:
        yield world
