"""What stops a start: it is said with what, why and what next, and the exit code 78."""

from datetime import timedelta

import pytest

from tests.integration.daemon.daemons import daemon, leader
from tests.integration.schema.world import World
from tests.support.postgres import Database
from tests.support.processes import RunningProcess, coordinator

CONFIG = 78
SOON = timedelta(seconds=10)


async def test_no_database_is_an_error_that_mentions_dev() -> None:
    async with coordinator("run") as process:
        await refused(process, "DATABASE_URL", "coordinator dev")


async def test_an_empty_database_is_an_error_that_mentions_migrate(
    fresh_database: Database,
) -> None:
    async with daemon(fresh_database) as process:
        await refused(process, "coordinator migrate")


async def test_half_a_schema_is_an_error_that_mentions_migrate(
    database: Database, world: World
) -> None:
    await world.execute("drop function public.heartbeat_many")

    async with daemon(database) as process:
        await refused(process, "coordinator migrate", "coordinator doctor", any_of=True)


async def test_a_database_that_does_not_exist_is_an_error(database: Database) -> None:
    async with daemon(database.server.dsn("no_such_database")) as process:
        await refused(process, "no_such_database")


async def test_a_user_that_does_not_exist_is_an_error(database: Database) -> None:
    async with daemon(database.dsn_as("no_such_user")) as process:
        await refused(process, "no_such_user")


async def test_a_malformed_dsn_is_an_error_that_does_not_show_its_password() -> None:
    async with daemon("postgresql://me:hunter2@localhost:port/db") as process:
        await refused(process, "DSN", "dsn", any_of=True)
        assert "hunter2" not in process.stderr + process.stdout


@pytest.mark.parametrize(
    "settings", [{"stale_after": "1s"}, {"safety_poll": "soon"}, {"health_tcp": "nowhere"}], ids=str
)
async def test_a_wrong_setting_is_named(database: Database, settings: dict[str, str]) -> None:
    async with daemon(database, settings) as process:
        await refused(process, *settings)


async def test_the_role_made_for_the_daemon_is_all_it_needs(
    database: Database, world: World
) -> None:
    await world.execute("create role the_daemon login in role coordinator_daemon")
    try:
        await world.agent("ada")
        async with leader(database.dsn_as("the_daemon")) as process:
            handoff_id = await world.handoff("ada", deadline_at=None)

            await process.seen("handoff.dispatched", handoff_id=str(handoff_id))
            assert not process.logged("pass.failed")
    finally:
        await world.execute("drop role the_daemon")


async def test_a_role_without_the_rights_is_told_which(database: Database, world: World) -> None:
    await world.execute("create role a_stranger login")
    try:
        async with daemon(database.dsn_as("a_stranger")) as process:
            await refused(process, "coordinator_daemon")
    finally:
        await world.execute("drop role a_stranger")


async def refused(process: RunningProcess, *mentioned: str, any_of: bool = False) -> None:
    """Wait for the end with exit code 78, and look for these words in what was said."""
    assert await process.wait(within=SOON) == CONFIG, str(process)
    told = [word in process.stderr for word in mentioned]
    assert any(told) if any_of else all(told), process.stderr
