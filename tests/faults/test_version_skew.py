"""A release and a schema that differ by one migration: who works, who refuses, what is said to do.

The rule is in docs/operations.md: migrate first, restart the daemons then, in any order. An older
release works with what a newer one has only added to, and refuses what is marked as breaking.
"""

import signal
from pathlib import Path

import anyio
import pytest

from coordinator.agents import Agent
from coordinator.core.errors import ExitCode
from coordinator.store.halves import Half
from coordinator.store.migrations import migrations
from tests.faults.bare_field import bare_field
from tests.faults.blows.session_terminated import SessionTerminated
from tests.integration.daemon.daemons import QUICK_TAIL, daemon, leader
from tests.integration.schema.world import World
from tests.support.commands import ended
from tests.support.next_release import VERSION, NextRelease, next_release
from tests.support.postgres import Database, migrate, migration_files
from tests.support.processes import RunningProcess
from tests.support.waiting import eventually


async def test_a_new_daemon_refuses_an_older_schema_and_names_the_remedy(
    fresh_database: Database,
) -> None:
    async with fresh_database.connect() as connection:
        await migrate(connection, migration_files(Half.COORDINATION)[:-1])

    async with daemon(fresh_database) as process:
        await refused(process, "too old", "coordinator migrate")


async def test_a_daemon_works_with_a_schema_that_a_later_release_has_added_to_and_says_so(
    upgraded: Database, world: World
) -> None:
    async with leader(upgraded) as process:
        await process.seen("schema.advanced", found=VERSION, needed=OURS)
        await world.agent("ada")

        handoff_id = await world.handoff("ada")

        await process.seen("handoff.dispatched", handoff_id=str(handoff_id))


async def test_a_daemon_serves_on_while_the_schema_moves_on_under_it_and_past_a_lost_link(
    database: Database, world: World, later: NextRelease, tmp_path: Path
) -> None:
    await world.agent("ada")
    await world.agent("bob")
    async with leader(database, QUICK_TAIL) as process:
        await migrated_by(later, database)
        first = await world.handoff("ada")
        await process.seen("handoff.dispatched", handoff_id=str(first))
        assert not process.logged("leadership.lost")

        for times in (1, 2):
            await SessionTerminated("coordinator listener").strike(bare_field(database, tmp_path))
            await process.seen("leadership.acquired", count=1 + times)

        assert len(process.logged("schema.advanced", found=VERSION)) == 1
        second = await world.handoff("bob")
        await process.seen("handoff.dispatched", handoff_id=str(second))


async def test_a_migration_gives_way_to_whoever_needs_what_it_holds(
    database: Database, later: NextRelease
) -> None:
    """Nobody at work is the victim of a deadlock with it; it tries again."""
    assert (await ended("migrate", on=database)).code == ExitCode.OK
    async with database.connect() as worker, database.connect() as looker:
        working = worker.transaction()
        await working.start()
        await worker.execute("lock table agent_status in row exclusive mode")
        async with later.run(database, "migrate") as migrating:

            async def waits() -> float | None:
                found: float | None = await looker.fetchval(HOLDS_AND_WAITS)
                return found

            first = await eventually(waits)

            async def is_past_its_look_for_deadlocks() -> bool:
                """By then the other one finds the deadlock, and is its victim."""
                found = await looker.fetchrow(HOLDS_AND_WAITS)
                return found is not None and (found["since"] != first or found["waited_s"] > 1.1)

            await eventually(is_past_its_look_for_deadlocks)

            await worker.execute("lock table handoffs in row exclusive mode")

            await working.commit()
            assert await migrating.wait() == ExitCode.OK, str(migrating)


@pytest.mark.parametrize("table", ["handoffs", "agent_status"])
async def test_an_agent_whose_call_waits_for_a_migration_works_on(
    database: Database, world: World, table: str
) -> None:
    async with (
        leader(database),
        Agent.connect(database.dsn, "ada") as ada,
        database.connect() as migrator,
    ):
        handoffs = ada.handoffs()

        async def work_on_one() -> None:
            async with await anext(handoffs) as handoff:
                await ada.set_status("working", current_task=str(handoff.id))

        for _ in range(3):  # until its statements are prepared, and their plans kept
            await world.handoff("ada")
            await work_on_one()
        handoff_id = await world.handoff("ada")
        taken = await anext(handoffs)

        async def take_it_up() -> None:
            async with taken:
                await ada.set_status("working", current_task="weather")

        altering = migrator.transaction()
        await altering.start()
        await migrator.execute(f"alter table {table} add column weather text")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take_it_up)

            async def waits() -> bool:
                return bool(await migrator.fetchval(AN_AGENT_WAITS))

            await eventually(waits)
            await altering.commit()

        outcome = await world.value("select outcome from handoffs where id = $1", handoff_id)
        assert outcome == "succeeded"


AN_AGENT_WAITS = """
    select exists (select from pg_stat_activity a
      where a.application_name = 'agent ada' and a.wait_event_type = 'Lock'
        and a.datname = current_database())
"""
HOLDS_AND_WAITS = """
    select extract(epoch from m.waitstart)::float8 as since,
      extract(epoch from clock_timestamp() - m.waitstart)::float8 as waited_s
    from pg_locks l join pg_locks m using (pid)
    where l.mode = 'AccessExclusiveLock' and m.mode = 'AccessExclusiveLock'
      and l.relation = 'handoffs'::regclass and l.granted
      and m.relation = 'agent_status'::regclass and not m.granted
"""


async def test_daemons_of_both_releases_stand_by_for_each_other(
    upgraded: Database, world: World, later: NextRelease
) -> None:
    await world.agent("ada")
    async with later.daemon(upgraded) as new, daemon(upgraded) as old:
        await new.seen("daemon.ready")
        await old.seen("daemon.ready")
        leads, waits = (new, old) if new.logged("leadership.acquired") else (old, new)

        leads.kill(signal.SIGTERM)

        await waits.seen("leadership.acquired")
        handoff_id = await world.handoff("ada")
        await waits.seen("handoff.dispatched", handoff_id=str(handoff_id))


async def test_an_agent_of_this_release_works_on_the_schema_of_the_next(
    upgraded: Database, world: World
) -> None:
    async with leader(upgraded), Agent.connect(upgraded.dsn, "ada") as ada:
        handoff_id = await world.handoff("ada")

        async for handoff in ada.handoffs():
            async with handoff:
                handoff.succeed({"weather": "fair"})
            break

        assert (
            await world.value("select outcome from handoffs where id = $1", handoff_id)
            == "succeeded"
        )


async def test_migrate_leaves_what_a_later_release_has_added_alone(upgraded: Database) -> None:
    command = await ended("migrate", on=upgraded)

    assert command.code == ExitCode.OK
    assert f"ahead of this release, which can work with it: {VERSION}" in command.err


async def test_doctor_notes_that_a_later_release_has_added_to_the_schema(
    upgraded: Database,
) -> None:
    command = await ended("doctor", "--json", on=upgraded)

    assert command.code == ExitCode.OK, command
    assert [(each["severity"], each["what"]) for each in command.data["findings"]] == [
        ("note", f"the schema's coordination half is ahead of this release, at {VERSION}")
    ]


@pytest.mark.parametrize("command", ["run", "migrate"])
async def test_what_a_later_release_has_broken_is_refused_with_the_remedy(
    database: Database, world: World, command: str
) -> None:
    assert (await ended("migrate", on=database)).code == ExitCode.OK
    await world.execute(
        "insert into coordination.migrations (version, name, checksum)"
        " values ($1, 'breaking_weather', 'of a later release')",
        VERSION,
    )

    process = await ended(command, on=database, env={"COORDINATOR_HEALTH_TCP": "off"})

    assert process.code == ExitCode.CONFIG
    assert "newer than this release can work with" in process.err
    assert "Install the release" in process.err


async def test_a_migration_of_ours_that_is_missing_before_a_later_one_is_refused(
    upgraded: Database, world: World
) -> None:
    await world.execute("delete from coordination.migrations where version = $1", OURS)

    process = await ended("migrate", on=upgraded)

    assert process.code == ExitCode.CONFIG
    assert "was left out" in process.err


# --- who migrates ---------------------------------------------------------------------------------

OURS = migrations(Half.COORDINATION)[-1].version


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> NextRelease:
    """The release after this one."""
    return next_release(tmp_path_factory.mktemp("later"))


@pytest.fixture
async def upgraded(database: Database, later: NextRelease) -> Database:
    """A database that this release has migrated, and then the next."""
    assert (await ended("migrate", on=database)).code == ExitCode.OK
    await migrated_by(later, database)
    return database


async def migrated_by(release: NextRelease, database: Database) -> None:
    """Migrate as an operator does."""
    async with release.run(database, "migrate") as process:
        assert await process.wait() == ExitCode.OK, str(process)


async def refused(process: RunningProcess, *mentioned: str) -> None:
    """Wait for the end with exit code 78, and look for these words in what was said."""
    assert await process.wait() == ExitCode.CONFIG, str(process)
    assert all(word in process.stderr for word in mentioned), process.stderr
