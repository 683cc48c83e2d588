"""The business half is chosen, skipped and made up for explicitly; coordination stands alone."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from coordinator.core.errors import ConfigError
from coordinator.operate.doctor import diagnose
from coordinator.store.catalog import expected_catalog, snapshot
from coordinator.store.catalog_file import make_catalog
from coordinator.store.connection import Connection
from coordinator.store.halves import Half
from coordinator.store.migration_plan import Deed
from coordinator.store.migrations import MigrationReport, migrate, migrations, require_schema
from tests.support.commands import data_of, ended
from tests.support.postgres import Cluster, Database
from tests.support.store import opened
from tests.support.supabase import OWNER, Defaults, dress, migrate_both, sign_up

COORDINATION = len(migrations(Half.COORDINATION))
BUSINESS = len(migrations(Half.BUSINESS))
NOTED = "select count(*) filter (where skipped), count(*) from coordination.migrations"


@pytest.fixture
async def bare(bare_project: Database) -> AsyncIterator[Connection]:
    async with opened(bare_project.dsn_as(OWNER)) as connection:
        yield connection


def deeds(report: MigrationReport, half: Half) -> list[Deed]:
    return [step.deed for step in report.steps if step.migration.half is half]


async def drift(connection: Connection, half: Half) -> object:
    return expected_catalog(half).differences(await snapshot(connection, half))


@pytest.mark.parametrize("defaults", Defaults)
async def test_both_halves_look_as_released_whatever_the_project_grants_by_itself(
    projects: Cluster, defaults: Defaults
) -> None:
    async with (
        projects.database(template=f"bare_{defaults}", owner=OWNER) as database,
        opened(database.dsn_as(OWNER)) as connection,
    ):
        report = await migrate(connection, business=True)

        assert deeds(report, Half.BUSINESS) == [Deed.RUN] * BUSINESS
        for half in Half:
            assert await drift(connection, half) == []
        assert (await migrate(connection)).steps == ()
        await require_schema(connection)


async def test_the_catalog_file_is_what_the_business_migrations_make(bare: Connection) -> None:
    await migrate(bare, business=False)

    made = await make_catalog(bare, Half.BUSINESS)

    assert made == expected_catalog(Half.BUSINESS), "run: make catalog"


def test_every_stage_of_the_business_half_looks_different() -> None:
    stages = list(expected_catalog(Half.BUSINESS).digests.values())

    assert len(set(stages)) == len(stages) == BUSINESS


@pytest.mark.parametrize("business", [None, False])
async def test_without_being_asked_for_it_is_skipped_and_that_is_noted(
    bare: Connection, bare_project: Database, business: bool | None
) -> None:
    report = await migrate(bare, business=business)

    assert deeds(report, Half.COORDINATION) == [Deed.RUN] * COORDINATION
    assert deeds(report, Half.BUSINESS) == [Deed.SKIP] * BUSINESS
    async with bare_project.connect() as admin:
        assert tuple(await admin.fetchrow(NOTED) or ()) == (BUSINESS, COORDINATION + BUSINESS)
        assert await admin.fetchval("select to_regclass('public.tasks')") is None
        assert (
            await admin.fetchval("select count(*) from supabase_migrations.schema_migrations")
            == COORDINATION
        )
    assert await drift(bare, Half.COORDINATION) == []
    assert (await migrate(bare)).steps == ()
    await require_schema(bare)


async def test_what_was_skipped_can_be_installed_later(
    bare: Connection, bare_project: Database
) -> None:
    await migrate(bare)

    report = await migrate(bare, business=True)

    assert [step.deed for step in report.steps] == [Deed.RUN] * BUSINESS
    async with bare_project.connect() as admin:
        assert tuple(await admin.fetchrow(NOTED) or ()) == (0, COORDINATION + BUSINESS)
    for half in Half:
        assert await drift(bare, half) == []
    assert (await migrate(bare)).steps == ()


async def test_a_plain_database_refuses_it_and_says_why(fresh_database: Database) -> None:
    async with opened(fresh_database.dsn) as connection:
        with pytest.raises(ConfigError, match=r"needs a Supabase project.*auth\.users") as caught:
            await migrate(connection, business=True)

        assert "Leave --business out" in str(caught.value)
        assert (await migrate(connection, dry_run=True)).steps != ()


async def test_its_own_files_refuse_a_plain_database(fresh_database: Database) -> None:
    async with fresh_database.connect() as connection:
        with pytest.raises(asyncpg.FeatureNotSupportedError, match="needs Supabase") as caught:
            await migrate_both(connection)

        assert "*_business_*" in (caught.value.hint or "")
        assert await connection.fetchval("select to_regclass('public.handoffs')") is not None
        assert await connection.fetchval("select to_regnamespace('agency')") is None


async def test_what_is_installed_cannot_be_left_out(bare: Connection) -> None:
    await migrate(bare, business=True)

    with pytest.raises(ConfigError, match="cannot be left out"):
        await migrate(bare, business=False)


async def test_what_psql_put_there_is_adopted(bare: Connection, bare_project: Database) -> None:
    async with bare_project.connect(user=OWNER) as owner:
        await migrate_both(owner)

    report = await migrate(bare)

    assert [step.deed for step in report.steps] == [Deed.ADOPT] * (COORDINATION + BUSINESS)
    assert (await migrate(bare)).steps == ()


async def test_what_was_skipped_and_then_put_there_by_psql_is_adopted(
    bare: Connection, bare_project: Database
) -> None:
    await migrate(bare)
    for migration in migrations(Half.BUSINESS):
        await bare.execute(migration.text)

    report = await migrate(bare)

    assert [step.deed for step in report.steps] == [Deed.ADOPT] * BUSINESS
    async with bare_project.connect() as admin:
        assert tuple(await admin.fetchrow(NOTED) or ()) == (0, COORDINATION + BUSINESS)


async def test_tables_of_the_users_own_are_not_taken_for_ours(
    bare: Connection, bare_project: Database
) -> None:
    async with bare_project.connect(user=OWNER) as owner:
        await owner.execute(
            "create table public.users (id int); create table public.tasks (id int)"
        )

    report = await migrate(bare)
    with pytest.raises(ConfigError, match=r"are taken.*table public\.tasks, table public\.users"):
        await migrate(bare, business=True, dry_run=True)

    assert deeds(report, Half.BUSINESS) == [Deed.SKIP] * BUSINESS
    assert (await migrate(bare)).steps == ()


async def test_a_business_half_of_several_owners_is_found(project: Database) -> None:
    async with project.connect() as admin, opened(project.dsn_as(OWNER)) as connection:
        await migrate(connection)
        await admin.execute("alter table public.tasks owner to supabase_auth_admin")

        findings = await diagnose(connection)

    assert any("several owners" in finding.what for finding in findings)


async def test_a_database_in_another_encoding_is_refused(projects: Cluster) -> None:
    await projects.admin(
        f"create database latin owner {OWNER} encoding 'LATIN1' locale 'C' template template0"
    )
    database = Database("latin", projects.server)
    async with database.connect() as admin:
        await dress(admin)

        async with opened(database.dsn_as(OWNER)) as connection:
            with pytest.raises(ConfigError, match="encoding UTF8"):
                await migrate(connection, business=True)
    await projects.admin("drop database latin with (force)")


async def test_drift_of_the_business_half_is_found(project: Database) -> None:
    async with project.connect() as admin, opened(project.dsn_as(OWNER)) as connection:
        await migrate(connection)
        before = await diagnose(connection)
        await admin.execute(
            "drop policy members_read_tasks on public.tasks;"
            " alter table public.handoffs disable trigger agency_task_follows;"
            " grant select on public.users to anon;"
            " alter table public.clients disable row level security"
        )

        findings = await diagnose(connection)

    said = " / ".join(finding.what for finding in findings if finding not in before)
    assert "policy members_read_tasks on public.tasks is missing" in said
    assert "trigger agency_task_follows on public.handoffs is disabled" in said
    assert "anon has a grant of select on table public.users" in said
    assert "table public.clients is" in said


async def test_a_database_without_it_has_no_drift(bare: Connection) -> None:
    await migrate(bare)

    findings = await diagnose(bare)

    assert [finding.what for finding in findings if "agency" in finding.what] == []


# As an operator types it ------------------------------------------------------------------------


async def test_migrate_says_what_it_left_out(bare_project: Database) -> None:
    told = await ended("migrate", on=bare_project)

    assert told.code == 0
    assert "skip   20261122190000_business_tables.sql" in told.out
    assert "coordinator migrate --business installs it" in told.err


async def test_migrate_installs_it_where_it_is_asked_for(bare_project: Database) -> None:
    await ended("migrate", on=bare_project)

    report = await data_of("migrate", "--business", on=bare_project)

    assert {(step["half"], step["deed"]) for step in report["steps"]} == {("business", "run")}


async def test_a_task_is_handed_off_from_the_command_line(project: Database) -> None:
    async with project.connect() as admin:
        owner = await sign_up(admin, "olga")
        workspace = await admin.fetchval("select id from create_workspace('Acme', $1)", owner)
        await admin.execute("insert into workspace_agents values ($1, 'ada')", workspace)
        task = await admin.fetchval(
            "insert into tasks (workspace_id, title) values ($1, 'Write it') returning id",
            workspace,
        )

        handed = await ended("tasks", "hand-off", str(task), "--to", "ada", on=project)
        again = await ended("tasks", "hand-off", str(task), "--to", "ada", "--json", on=project)
        stranger = await ended("tasks", "hand-off", str(task), "--to", "trae", on=project)

        assert handed.out.strip() == str(await admin.fetchval("select handoff_id from tasks"))
    assert (handed.code, "no agent answers to ada yet" in handed.err) == (0, True)
    assert (again.code, again.error["code"]) == (65, "ZH016")
    assert (stranger.code, "does not serve" in stranger.err) == (65, True)


async def test_without_the_business_half_the_command_says_what_to_do(database: Database) -> None:
    told = await ended(
        "tasks", "hand-off", "9b2f8c1e-0d57-4c58-a3f0-3d6f0f6f2f11", "--to", "ada", on=database
    )

    assert (told.code, "coordinator migrate --business" in told.err) == (78, True)


async def test_every_constraint_is_read_back_as_it_is_printed(project: Database) -> None:
    """Or a restored dump would show drift: PostgreSQL does not print all that it reads."""
    async with project.connect() as admin:
        rows = await admin.fetch(
            "select conrelid::regclass::text as table, quote_ident(conname) as name,"
            " pg_get_constraintdef(oid) as said from pg_constraint where contype = 'c'"
            " and connamespace in ('public'::regnamespace, 'coordination'::regnamespace)"
        )
        for row in rows:
            table, name, said = row
            await admin.execute(
                f"alter table {table} drop constraint {name}; "
                f"alter table {table} add constraint {name} {said}"
            )

        again = await admin.fetch(
            "select conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid)"
            " from pg_constraint where contype = 'c'"
        )
    assert {tuple(row) for row in rows} <= {tuple(row) for row in again}
    assert len(rows) > 50
