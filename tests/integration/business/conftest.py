"""A project of one's own: a database dressed as Supabase's, with both halves of the schema."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.postgres import Cluster, Connection, Database
from tests.support.supabase import OWNER, Defaults, supabase_cluster


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def projects() -> AsyncIterator[Cluster]:
    """The server of this worker for Supabase projects; other tests use it too."""
    async with supabase_cluster() as cluster:
        yield cluster


@pytest.fixture
async def project(projects: Cluster) -> AsyncIterator[Database]:
    """A project with both halves, that grants nothing by default."""
    async with projects.database(template=Defaults.CLOSED, owner=OWNER) as database:
        yield database


@pytest.fixture
async def bare_project(projects: Cluster) -> AsyncIterator[Database]:
    """A project without anything of ours."""
    async with projects.database(template=f"bare_{Defaults.CLOSED}", owner=OWNER) as database:
        yield database


@pytest.fixture
async def admin(project: Database) -> AsyncIterator[Connection]:
    """A superuser's connection to the project."""
    async with project.connect() as connection:
        yield connection
