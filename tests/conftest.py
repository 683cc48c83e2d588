"""What every test can ask for: a database of its own, on a real server."""

import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.postgres import Cluster, Connection, Database, throw_away_cluster
from tests.support.supabase import OWNER, Defaults, supabase_cluster


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster() -> AsyncIterator[Cluster]:
    """The server of this worker; other tests use it too, so do not stop it."""
    async with throw_away_cluster() as cluster:
        yield cluster


@pytest.fixture
async def database(cluster: Cluster) -> AsyncIterator[Database]:
    """A migrated database."""
    async with cluster.database() as database:
        yield database


@pytest.fixture
async def fresh_database(cluster: Cluster) -> AsyncIterator[Database]:
    """An empty database, as a new customer brings it."""
    async with cluster.database(template="template1") as database:
        yield database


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    """A superuser's connection to the migrated database."""
    async with database.connect() as connection:
        yield connection


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def projects() -> AsyncIterator[Cluster]:
    """The server of this worker for Supabase projects; other tests use it too."""
    async with supabase_cluster() as cluster:
        yield cluster


@pytest.fixture
async def project(projects: Cluster) -> AsyncIterator[Database]:
    """A Supabase project with both halves, that grants nothing by default."""
    async with projects.database(template=Defaults.CLOSED, owner=OWNER) as database:
        yield database


@pytest.fixture
async def bare_project(projects: Cluster) -> AsyncIterator[Database]:
    """A Supabase project without anything of ours."""
    async with projects.database(template=f"bare_{Defaults.CLOSED}", owner=OWNER) as database:
        yield database


@pytest.fixture
async def admin(project: Database) -> AsyncIterator[Connection]:
    """A superuser's connection to the project."""
    async with project.connect() as connection:
        yield connection


def pytest_configure() -> None:
    # A script's background job is started with SIGINT ignored, nohup's with SIGHUP, and both
    # would hand that on.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--skips-fail", action="store_true", help="fail the run if a test was skipped")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not session.config.getoption("--skips-fail"):
        return
    if session.exitstatus == pytest.ExitCode.OK and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
