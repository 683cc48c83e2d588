"""A daemon and a schema that differ by one migration: who refuses, and what is said to do.

A daemon starts on the schema of its own release alone. One that is at work goes on while the schema
moves on under it, and ends when it has to connect anew: so an upgrade migrates first, and restarts
the daemons then.
"""

from pathlib import Path

from coordinator.core.errors import ExitCode
from coordinator.store.connection import Connection
from coordinator.store.dsn import connect_target
from coordinator.store.halves import Half
from coordinator.store.migrations import migrate as record_migrations
from tests.faults.bare_field import bare_field
from tests.faults.blows.session_terminated import SessionTerminated
from tests.integration.daemon.daemons import QUICK_TAIL, daemon, leader
from tests.integration.schema.world import World
from tests.support.postgres import Database, migrate, migration_files
from tests.support.processes import RunningProcess


async def test_a_new_daemon_refuses_an_older_schema_and_names_the_remedy(
    fresh_database: Database,
) -> None:
    async with fresh_database.connect() as connection:
        await migrate(connection, migration_files(Half.COORDINATION)[:-1])

    async with daemon(fresh_database) as process:
        await refused(process, "too old", "coordinator migrate")


async def test_an_old_daemon_refuses_a_newer_schema_and_names_the_remedy(
    database: Database, world: World
) -> None:
    await a_later_release_migrates(database, world)

    async with daemon(database) as process:
        await refused(process, "newer than this release", "Install the release")


async def test_an_old_daemon_serves_on_while_the_schema_moves_on_until_it_has_to_reconnect(
    database: Database, world: World, tmp_path: Path
) -> None:
    await world.agent("ada")
    await world.agent("bob")
    async with leader(database, QUICK_TAIL) as process:
        first = await world.handoff("ada")
        await process.seen("handoff.dispatched", handoff_id=str(first))

        await a_later_release_migrates(database, world)
        second = await world.handoff("bob")
        await process.seen("handoff.dispatched", handoff_id=str(second))
        assert not process.logged("leadership.lost")
        await SessionTerminated("coordinator listener").strike(bare_field(database, tmp_path))

        await refused(process, "newer than this release")
        assert process.logged("daemon.failed", **{"error.type": "SchemaMismatch"})


async def a_later_release_migrates(database: Database, world: World) -> None:
    """Add to a recorded schema one migration that does no harm."""
    recorder = await Connection.open(connect_target(database.dsn), application_name="a release")
    try:
        await record_migrations(recorder)
    finally:
        await recorder.close()
    await world.execute("alter table handoffs add column weather text")
    await world.execute(
        "insert into coordination.migrations (version, name, checksum)"
        " values ('29991231235959', 'weather', 'of a later release')"
    )


async def refused(process: RunningProcess, *mentioned: str) -> None:
    """Wait for the end with exit code 78, and look for these words in what was said."""
    assert await process.wait() == ExitCode.CONFIG, str(process)
    assert all(word in process.stderr for word in mentioned), process.stderr
