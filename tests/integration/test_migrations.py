"""The schema arrives whole, once, and alike, whichever way it comes."""

import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta

import anyio
import pytest

from coordinator.core.errors import SchemaMismatch, StoreUnavailable
from coordinator.store.catalog import Snapshot, digest, expected_catalog, snapshot
from coordinator.store.catalog_file import make_catalog
from coordinator.store.connection import Connection
from coordinator.store.halves import Half
from coordinator.store.migration_plan import Applied, Deed, Step, plan
from coordinator.store.migrations import (
    MigrationReport,
    SchemaState,
    SchemaVersion,
    migrate,
    migrations,
    require_schema,
    schema_version,
)
from tests.support.postgres import MIGRATIONS, Database, migration_files, throw_away_server
from tests.support.postgres import Connection as RawConnection
from tests.support.programs import a_working
from tests.support.store import opened
from tests.support.waiting import eventually

PSQL = a_working("psql")
FILES = migrations(Half.COORDINATION)
LATER = "20991231000000"
BUSINESS = migrations(Half.BUSINESS)
EXPECTED = expected_catalog(Half.COORDINATION)
HISTORIES = """
    select m.version, m.name, m.checksum, s.name as pushed_name, s.statements[1] as statements
    from coordination.migrations m
    full join supabase_migrations.schema_migrations s using (version)
    where m.skipped is not true
    order by 1
"""


@pytest.fixture
async def empty(fresh_database: Database) -> AsyncIterator[Connection]:
    async with opened(fresh_database.dsn) as connection:
        yield connection


async def apply_files(connection: Connection, count: int) -> None:
    """As `psql -1 -f` would: no history is written."""
    for file in FILES[:count]:
        await connection.execute(file.text)


async def looks_of(connection: Connection) -> Snapshot:
    return await snapshot(connection, Half.COORDINATION)


def deeds(report: MigrationReport, half: Half = Half.COORDINATION) -> list[Deed]:
    return [step.deed for step in report.steps if step.migration.half is half]


# What it looks like -----------------------------------------------------------------------------


async def test_the_catalog_file_is_what_the_migrations_make(empty: Connection) -> None:
    made = await make_catalog(empty, Half.COORDINATION)

    assert made == EXPECTED, "run: make catalog"


def test_every_stage_of_the_schema_looks_different() -> None:
    stages = list(EXPECTED.digests.values())

    assert len(set(stages)) == len(stages) == len(FILES)


def test_versions_are_utc_times_in_order() -> None:
    names = sorted(file.file_name for half in Half for file in migrations(half))

    assert names == sorted(path.name for path in MIGRATIONS.glob("*.sql"))


# The three ways ---------------------------------------------------------------------------------


async def test_an_empty_database_is_migrated(empty: Connection) -> None:
    report = await migrate(empty)

    assert deeds(report) == [Deed.RUN] * len(FILES)
    assert EXPECTED.differences(await looks_of(empty)) == []
    await require_schema(empty)


async def test_migrating_again_changes_nothing(empty: Connection) -> None:
    await migrate(empty)

    report = await migrate(empty)

    assert report == MigrationReport((), False, FILES[-1].version, ahead=None)


async def test_both_histories_hold_every_migration(
    empty: Connection, fresh_database: Database
) -> None:
    await migrate(empty)

    async with fresh_database.connect() as connection:
        rows = await connection.fetch(HISTORIES)
    assert [tuple(row) for row in rows] == [
        (file.version, file.name, file.checksum, file.name, file.text.rstrip().removesuffix(";"))
        for file in FILES
    ]


@pytest.mark.skipif(PSQL is None, reason="there is no psql")
@pytest.mark.parametrize("options", [[], ["-1"]], ids=["a transaction a statement", "psql -1"])
async def test_psql_makes_the_same_schema_and_migrate_adopts_it(
    empty: Connection, fresh_database: Database, options: list[str]
) -> None:
    for path in migration_files(Half.COORDINATION):
        command = [str(PSQL), "-X", "-q", "-v", "ON_ERROR_STOP=1", *options, "-f", str(path)]
        await anyio.run_process([*command, fresh_database.dsn], stderr=subprocess.STDOUT)
    looks = await looks_of(empty)

    report = await migrate(empty)

    assert EXPECTED.differences(looks) == []
    assert deeds(report) == [Deed.ADOPT] * len(FILES)
    assert await looks_of(empty) == looks


async def test_what_the_supabase_cli_pushed_is_verified_and_gets_its_checksums(
    empty: Connection, fresh_database: Database
) -> None:
    await apply_files(empty, len(FILES))
    async with fresh_database.connect() as connection:
        await push_history(connection, count=len(FILES))

        report = await migrate(empty)

        rows = await connection.fetch(HISTORIES)
    assert deeds(report) == [Deed.ADOPT] * len(FILES)
    assert [row["checksum"] for row in rows] == [file.checksum for file in FILES]
    assert {row["statements"] for row in rows} == {"as the CLI wrote it"}


async def test_a_schema_that_psql_began_is_adopted_and_finished(empty: Connection) -> None:
    await apply_files(empty, 3)

    report = await migrate(empty)

    assert deeds(report) == [Deed.ADOPT] * 3 + [Deed.RUN] * (len(FILES) - 3)
    assert EXPECTED.differences(await looks_of(empty)) == []


async def test_it_works_for_an_owner_who_is_no_superuser() -> None:
    async with throw_away_server() as server:
        async with Database("postgres", server).connect() as connection:
            await connection.execute("create role ada login createrole")
            await connection.execute("create database hers owner ada")
        async with opened(server.dsn("hers", user="ada")) as hers:
            report = await migrate(hers)

            assert deeds(report) == [Deed.RUN] * len(FILES)
            assert digest(await looks_of(hers)) == EXPECTED.digests[FILES[-1].version]


async def test_the_open_default_privileges_of_supabase_do_not_open_our_tables() -> None:
    async with throw_away_server() as server:
        async with Database("postgres", server).connect() as connection:
            await connection.execute("""
                create role anon; create role authenticated; create role service_role;
                alter default privileges grant all on tables to anon, authenticated;
                alter default privileges grant all on routines to anon, authenticated;
                alter default privileges grant all on sequences to anon, authenticated;
            """)
        async with opened(server.dsn()) as ours:
            await migrate(ours)

            assert EXPECTED.differences(await looks_of(ours)) == []


async def test_a_migration_that_is_refused_names_its_file_and_leaves_nothing_half_done() -> None:
    async with throw_away_server() as server:
        async with Database("postgres", server).connect() as connection:
            await connection.execute("create role ada login")
            await connection.execute("create database hers owner ada")
        async with opened(server.dsn("hers", user="ada")) as hers:
            with pytest.raises(SchemaMismatch, match=r"_roles\.sql cannot be applied.*create role"):
                await migrate(hers)

            done = next(place for place, file in enumerate(FILES) if file.name == "roles")
            assert EXPECTED.reached(await looks_of(hers)) == done
            assert (await schema_version(hers)).found == FILES[done - 1].version


# What is refused --------------------------------------------------------------------------------


async def test_a_changed_schema_without_a_history_is_refused_by_the_names_of_what_differs(
    empty: Connection,
) -> None:
    await apply_files(empty, len(FILES))
    await empty.execute("drop function public.heartbeat; drop index public.handoffs_due")

    with pytest.raises(
        SchemaMismatch, match=r"heartbeat\(.*\) \(missing\), index handoffs_due .*\(missing\)"
    ):
        await migrate(empty)

    assert (await schema_version(empty)).state is SchemaState.UNKNOWN


async def test_a_table_of_the_same_name_is_not_taken_for_ours(empty: Connection) -> None:
    await empty.execute("create table public.handoffs (id uuid primary key)")

    with pytest.raises(SchemaMismatch, match=r"column id on public.handoffs \(changed\)"):
        await migrate(empty)


async def test_a_history_that_says_more_than_is_there_is_refused(
    empty: Connection, fresh_database: Database
) -> None:
    async with fresh_database.connect() as connection:
        await push_history(connection, count=2)

    with pytest.raises(SchemaMismatch, match=f"history says after {FILES[1].file_name}"):
        await migrate(empty)


async def test_a_changed_file_is_refused_by_name(
    empty: Connection, fresh_database: Database
) -> None:
    await migrate(empty)
    async with fresh_database.connect() as connection:
        await connection.execute(
            "update coordination.migrations set checksum = '' where version = $1", FILES[1].version
        )

    with pytest.raises(SchemaMismatch, match=f"{FILES[1].file_name} is not the file"):
        await migrate(empty)


async def test_a_schema_that_newer_releases_have_added_to_is_left_as_it_is(
    empty: Connection, fresh_database: Database
) -> None:
    await migrate(empty)
    await note_a_later_one(fresh_database, "add_weather")

    report = await migrate(empty)

    assert report == MigrationReport((), False, LATER, ahead=LATER)
    assert await require_schema(empty) == SchemaVersion(SchemaState.AHEAD, LATER, FILES[-1].version)


@pytest.mark.parametrize("more_added", [False, True])
async def test_a_schema_that_newer_releases_have_broken_is_refused(
    empty: Connection, fresh_database: Database, *, more_added: bool
) -> None:
    await migrate(empty)
    await note_a_later_one(fresh_database, "breaking_weather")
    if more_added:
        await note_a_later_one(fresh_database, "add_weather", version="20991231000001")

    with pytest.raises(SchemaMismatch, match="newer than this release can work with"):
        await migrate(empty)
    with pytest.raises(SchemaMismatch, match="newer than this release can work with"):
        await require_schema(empty)


async def test_a_newer_schema_without_one_of_ours_is_refused(
    empty: Connection, fresh_database: Database
) -> None:
    await migrate(empty)
    await note_a_later_one(fresh_database, "add_weather")
    async with fresh_database.connect() as connection:
        await connection.execute(
            "delete from coordination.migrations where version = $1", FILES[-1].version
        )

    with pytest.raises(SchemaMismatch, match=f"{FILES[-1].file_name} was left out"):
        await migrate(empty)
    with pytest.raises(SchemaMismatch, match=f"{FILES[-1].file_name} was left out"):
        await require_schema(empty)


async def note_a_later_one(database: Database, name: str, *, version: str = LATER) -> None:
    """Note a migration that this release does not know."""
    async with database.connect() as connection:
        await connection.execute(
            "insert into coordination.migrations values ($1, $2, '')", version, name
        )


def test_a_migration_left_out_of_a_history_is_refused() -> None:
    checksums = [Applied(file.version, file.name, file.checksum) for file in FILES]
    del checksums[1]

    with pytest.raises(SchemaMismatch, match=f"{FILES[1].file_name} was left out"):
        plan(FILES, checksums=checksums, history=[], found=EXPECTED.objects, expected=EXPECTED)


def test_drift_does_not_keep_a_schema_with_a_history_from_being_migrated() -> None:
    checksums = [Applied(file.version, file.name, file.checksum) for file in FILES[:-1]]
    drifted = dict(list(EXPECTED.objects.items())[:-1])

    steps = plan(
        FILES,
        checksums=checksums,
        history=[file.version for file in FILES[:-1]],
        found=drifted,
        expected=EXPECTED,
    )

    assert steps == [Step(FILES[-1], Deed.RUN)]


async def test_what_is_not_ours_is_left_alone(empty: Connection, fresh_database: Database) -> None:
    async with fresh_database.connect() as connection:
        await connection.execute("create table public.invoices (id int)")
        await push_history(connection, count=0)
        await connection.execute(
            "insert into supabase_migrations.schema_migrations values ('20200101000000')"
        )

        report = await migrate(empty)

        versions = await connection.fetch(
            "select version from supabase_migrations.schema_migrations order by 1"
        )
    assert deeds(report) == [Deed.RUN] * len(FILES)
    assert [row["version"] for row in versions] == [
        "20200101000000",
        *(file.version for file in FILES),
    ]


# Care -------------------------------------------------------------------------------------------


async def test_a_dry_run_tells_and_changes_nothing(
    empty: Connection, fresh_database: Database
) -> None:
    report = await migrate(empty, dry_run=True)

    assert deeds(report) == [Deed.RUN] * len(FILES)
    assert report.dry_run
    async with fresh_database.connect() as connection:
        schemas = await connection.fetchval(
            "select count(*) from pg_namespace where nspname ~ '^(coordination|supabase)'"
        )
    assert schemas == 0


async def test_of_two_migrators_at_once_one_waits_and_both_succeed(
    fresh_database: Database,
) -> None:
    reports = []

    async def one() -> None:
        async with opened(fresh_database.dsn) as connection:
            reports.append(await migrate(connection))

    async with anyio.create_task_group() as both:
        both.start_soon(one)
        both.start_soon(one)

    assert sorted(len(report.steps) for report in reports) == [0, len(FILES) + len(BUSINESS)]


async def test_waiting_for_another_migrator_has_an_end(
    empty: Connection, fresh_database: Database
) -> None:
    async with opened(fresh_database.dsn) as other:
        lock = await other.run("migration_lock", key=0x636F6F72646D6967)
        assert lock[0]["got"]

        with pytest.raises(StoreUnavailable, match="another migration"):
            await migrate(empty, lock_wait=timedelta(seconds=0.3))


async def test_a_migrator_killed_in_mid_file_leaves_nothing_of_that_file(
    empty: Connection, fresh_database: Database
) -> None:
    await apply_files(empty, 1)
    async with fresh_database.connect() as other, anyio.create_task_group() as tasks:
        writing = other.transaction()
        await writing.start()
        # What the second file's triggers have to wait for.
        await other.execute("lock table public.handoffs in row exclusive mode")

        async def migrate_in_vain() -> None:
            with pytest.raises(StoreUnavailable):
                await migrate(empty)

        async def waits() -> bool:
            return bool(
                await other.fetchval(
                    "select wait_event_type = 'Lock' from pg_stat_activity where pid = $1",
                    empty.backend_pid,
                )
            )

        pid = empty.backend_pid
        tasks.start_soon(migrate_in_vain)
        await eventually(waits)
        await other.execute(f"select pg_terminate_backend({pid})")
        await writing.rollback()

    async with opened(fresh_database.dsn) as again:
        assert EXPECTED.reached(await looks_of(again)) == 1
        report = await migrate(again)
        assert deeds(report) == [Deed.RUN] * (len(FILES) - 1)
        await require_schema(again)


# How the daemon sees it -------------------------------------------------------------------------


async def test_an_empty_database_has_no_schema(empty: Connection) -> None:
    version = await schema_version(empty)

    assert version.state is SchemaState.MISSING
    with pytest.raises(SchemaMismatch, match=r"is missing.*coordinator migrate"):
        await require_schema(empty)


async def test_a_schema_without_a_history_is_known_by_its_looks(empty: Connection) -> None:
    await apply_files(empty, len(FILES) - 1)

    before = await schema_version(empty)
    await empty.execute(FILES[-1].text)
    after = await schema_version(empty)

    assert (before.state, before.found) == (SchemaState.OLDER, FILES[-2].version)
    assert (after.state, after.found) == (SchemaState.OK, FILES[-1].version)


async def test_a_migration_that_the_cli_added_to_ours_counts(
    empty: Connection, fresh_database: Database
) -> None:
    await migrate(empty)
    async with fresh_database.connect() as connection:
        await connection.execute(
            "delete from coordination.migrations where version = $1", FILES[-1].version
        )

    assert (await schema_version(empty)).state is SchemaState.OK


async def push_history(connection: RawConnection, *, count: int) -> None:
    """As the Supabase CLI notes what it pushed."""
    await connection.execute("""
        create schema supabase_migrations;
        create table supabase_migrations.schema_migrations (
          version text not null primary key, statements text[], name text)
    """)
    await connection.executemany(
        "insert into supabase_migrations.schema_migrations values ($1, array[$2], $3)",
        [(file.version, "as the CLI wrote it", file.name) for file in FILES[:count]],
    )
