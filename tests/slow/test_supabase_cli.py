"""The real Supabase CLI pushes the same migrations, and agrees with `migrate` on what is done."""

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from coordinator.store.catalog import Snapshot, digest, expected_catalog, snapshot
from coordinator.store.connection import Connection
from coordinator.store.dsn import connect_target
from coordinator.store.halves import Half
from coordinator.store.migration_plan import Deed
from coordinator.store.migrations import migrate, migrations, require_schema
from tests.support.postgres import Cluster, Database
from tests.support.store import opened
from tests.support.supabase import OWNER, Defaults

ROOT = Path(__file__).parents[2]
CLI = ROOT / "node_modules" / ".bin" / "supabase"
FILES = migrations(Half.COORDINATION)
EXPECTED = expected_catalog(Half.COORDINATION)
HAS_CHECKER = "select exists (select from pg_available_extensions where name = 'plpgsql_check')"

pytestmark = [
    pytest.mark.js,
    pytest.mark.skipif(not CLI.exists(), reason="run npm ci for the Supabase CLI"),
]


@pytest.fixture
async def connection(fresh_database: Database) -> AsyncIterator[Connection]:
    """Ours, to the empty database that the CLI is to fill."""
    async with opened(fresh_database.dsn) as connection:
        yield connection


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of `schema/`, since the CLI writes into it."""
    shutil.copytree(ROOT / "schema", tmp_path / "schema")
    return tmp_path / "schema"


@pytest.fixture
def coordination(folder: Path) -> Path:
    """A copy for a database that is no Supabase project."""
    for migration in migrations(Half.BUSINESS):
        (folder / "supabase" / "migrations" / migration.file_name).unlink()
    return folder


@pytest.mark.parametrize("defaults", Defaults)
async def test_both_halves_pass_push_list_lint_and_advisors(
    projects: Cluster, folder: Path, defaults: Defaults
) -> None:
    async with projects.database(template=f"bare_{defaults}", owner=OWNER) as database:
        async with database.connect() as admin:
            if not await admin.fetchval(HAS_CHECKER):
                pytest.skip(
                    "db lint needs plpgsql_check: apt-get install postgresql-15-plpgsql-check"
                )

        await supabase(folder, database, "db", "push", "--yes", user=OWNER)
        listed = await listed_versions(folder, database)
        linted = await supabase(folder, database, "db", "lint", "--fail-on", "error")
        advised = await supabase(folder, database, "db", "advisors", "--fail-on", "warn")

        async with opened(database.dsn_as(OWNER)) as connection:
            report = await migrate(connection)
            looks = {half: digest(await snapshot(connection, half)) for half in Half}
    versions = sorted(migration.version for half in Half for migration in migrations(half))
    assert listed == [(version, version) for version in versions]
    assert "No schema errors found" in linted
    assert "No issues found" in advised
    assert [step.deed for step in report.steps] == [Deed.ADOPT] * len(versions)
    for half, look in looks.items():
        assert look == expected_catalog(half).digests[migrations(half)[-1].version]


async def test_the_advisors_would_speak_up(project: Database, folder: Path) -> None:
    async with project.connect() as admin:
        await admin.execute("drop policy members_read_tasks on tasks")
        await admin.execute("create policy all_read on tasks for select using (auth.uid() <> id)")

    with pytest.raises(AssertionError, match="auth_rls_initplan"):
        await supabase(folder, project, "db", "advisors", "--fail-on", "warn")


async def test_db_push_makes_the_same_schema_and_migrate_adopts_it(
    connection: Connection, fresh_database: Database, coordination: Path
) -> None:
    await supabase(coordination, fresh_database, "db", "push", "--yes")
    looks = await looks_of(connection)

    report = await migrate(connection)

    assert digest(looks) == EXPECTED.digests[FILES[-1].version]
    assert {step.deed for step in report.steps[: len(FILES)]} == {Deed.ADOPT}
    assert await looks_of(connection) == looks
    await require_schema(connection)


async def test_after_migrate_db_push_has_nothing_to_do(
    connection: Connection, fresh_database: Database, coordination: Path
) -> None:
    await migrate(connection)

    said = await supabase(coordination, fresh_database, "db", "push", "--yes")

    assert "up to date" in said


async def test_migration_list_shows_what_migrate_applied(
    connection: Connection, fresh_database: Database, coordination: Path
) -> None:
    await migrate(connection)

    assert await listed_versions(coordination, fresh_database) == [
        (file.version, file.version) for file in FILES
    ]


async def test_db_push_goes_on_where_migrate_ended(
    connection: Connection, fresh_database: Database, coordination: Path
) -> None:
    later = coordination / "supabase" / "migrations" / "20991231000000_later.sql"
    later.write_text("create table public.of_the_user (id int);\n")
    await migrate(connection)

    await supabase(coordination, fresh_database, "db", "push", "--yes")

    async with fresh_database.connect() as raw:
        assert await raw.fetchval("select to_regclass('public.of_the_user')") is not None
    assert (await migrate(connection)).steps == ()


async def looks_of(connection: Connection) -> Snapshot:
    return await snapshot(connection, Half.COORDINATION)


async def listed_versions(folder: Path, database: Database) -> list[tuple[str, str]]:
    said = await supabase(folder, database, "migration", "list", "--output-format", "json")
    shown = json.loads(said.splitlines()[0])
    return [(row["local"], row["remote"]) for row in shown["migrations"]]


async def supabase(folder: Path, database: Database, *command: str, user: str = "postgres") -> str:
    """Run the CLI against a database, over its unix socket; return all that it says."""
    [host] = connect_target(database.dsn).hosts
    # The CLI wants a host before the path, and takes the socket's directory from the query.
    remote = (
        f"postgresql://{user}@localhost:{host.port}/{database.name}"
        f"?host={host.host}&sslmode=disable"
    )
    with anyio.fail_after(60):
        done = await anyio.run_process(
            [str(CLI), "--workdir", str(folder), *command, f"--remote={remote}"],
            env={"DO_NOT_TRACK": "1", "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder)},
            check=False,
        )
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 0, said
    return said
