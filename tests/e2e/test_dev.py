"""`coordinator dev`: a server that keeps its data, and the daemon, until it is told to stop."""

import shlex
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from tests.support.processes import RunningProcess, coordinator, running
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

_HAND_OFF = "insert into handoffs (from_agent, to_agent, task_description) values ('me', 'ada', $1)"


@pytest.fixture
def place() -> Iterator[Path]:
    """A working directory with a space in its name."""
    with tempfile.TemporaryDirectory(prefix="dev-") as directory:
        place = Path(directory, "a place")
        place.mkdir()
        yield place


async def test_the_printed_lines_lead_to_a_working_coordinator(place: Path) -> None:
    async with coordinator("dev", cwd=place) as dev:
        env = {"DATABASE_URL": await _exported(dev)}

        async with coordinator("status", "--json", env=env, cwd=place) as status:
            assert await status.wait() == 0, status
        health = ["health", "--socket", str(place / ".coordinator" / "daemon" / "health")]
        async with coordinator(*health, cwd=place) as asked:
            assert await asked.wait() == 0, asked

        dev.kill(signal.SIGINT)
        assert await dev.wait() == 0, dev


async def test_its_daemon_dispatches_what_is_inserted(place: Path) -> None:
    async with _dev(place) as (dev, dsn):
        connection = await asyncpg.connect(dsn)
        await connection.execute("select register_agent('ada')")
        await connection.execute(_HAND_OFF, "greet")
        connection.terminate()

        dispatched = await dev.seen("handoff.dispatched")

        assert dispatched["agent"] == "ada"


async def test_the_data_is_kept_for_the_next_time(place: Path) -> None:
    async with _dev(place) as (dev, dsn):
        connection = await asyncpg.connect(dsn)
        await connection.execute(_HAND_OFF, "remember me")
        connection.terminate()
        dev.kill(signal.SIGTERM)
        assert await dev.wait() == 0, dev

    async with _dev(place) as (_, dsn):
        connection = await asyncpg.connect(dsn)
        tasks = await connection.fetch("select task_description from handoffs")
        connection.terminate()

    assert [task["task_description"] for task in tasks] == ["remember me"]


async def test_a_killed_dev_takes_its_children_with_it_and_starts_again_on_its_data(
    place: Path,
) -> None:
    async with _dev(place) as (dev, dsn):
        dev.kill(signal.SIGKILL)
        await dev.wait()

        async def server_is_gone() -> bool:
            try:
                connection = await asyncpg.connect(dsn)
            except (OSError, asyncpg.CannotConnectNowError):
                return True
            connection.terminate()
            return False

        await eventually(server_is_gone)

    async with _dev(place) as (_, again):
        assert again == dsn


async def test_a_second_one_on_the_same_data_is_refused_and_harms_nothing(place: Path) -> None:
    async with _dev(place) as (_, dsn):
        async with coordinator("dev", cwd=place) as second:
            assert await second.wait() == 78, second
            assert "already running" in second.stderr, second
            assert str(place / ".coordinator") in second.stderr, second

        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("select 1") == 1
        connection.terminate()


async def test_two_of_them_run_beside_each_other_on_data_of_their_own(place: Path) -> None:
    async with _dev(place, "--data-dir", "one"), _dev(place, "--data-dir", "two") as (_, dsn):
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("select count(*) from handoffs") == 0
        connection.terminate()


async def test_a_data_directory_may_be_deeper_than_a_socket_may_be(place: Path) -> None:
    deep = place / ("deep " * 20).strip() / ("deeper " * 20).strip()

    async with _dev(place, "--data-dir", str(deep)) as (dev, dsn):
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("select 1") == 1
        connection.terminate()
        dev.kill(signal.SIGINT)
        assert await dev.wait() == 0, dev

    assert (deep / "data" / "PG_VERSION").exists()


async def test_git_does_not_see_the_data(place: Path) -> None:
    async with running(["git", "init", "--quiet"], cwd=place) as made:
        assert await made.wait() == 0, made

    async with (
        _dev(place),
        running(["git", "status", "--porcelain"], cwd=place) as status,
    ):
        assert await status.wait() == 0, status
        assert status.stdout == ""


@asynccontextmanager
async def _dev(place: Path, *arguments: str) -> AsyncIterator[tuple[RunningProcess, str]]:
    env = {"TMPDIR": str(place)}
    async with coordinator("dev", "--json", *arguments, env=env, cwd=place) as dev:
        started = await dev.seen("dev.started")
        yield dev, started["dsn"]
        # Otherwise its files would vanish below a server that still shuts down.
        dev.kill(signal.SIGTERM)
        await dev.wait()


async def _exported(dev: RunningProcess) -> str:
    """The DSN, as a shell takes it from the line that is printed for it."""

    async def line() -> str:
        return next((line for line in dev.stdout.splitlines() if "DATABASE_URL=" in line), "")

    [_, assignment] = shlex.split(await eventually(line))
    return assignment.removeprefix("DATABASE_URL=")
