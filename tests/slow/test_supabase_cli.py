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
from tests.support.postgres import Database

ROOT = Path(__file__).parents[2]
CLI = ROOT / "node_modules" / ".bin" / "supabase"
FILES = migrations(Half.COORDINATION)
EXPECTED = expected_catalog(Half.COORDINATION)

pytestmark = [
    pytest.mark.js,
    pytest.mark.skipif(not CLI.exists(), reason="run npm ci for the Supabase CLI"),
]


@pytest.fixture
async def connection(fresh_database: Database) -> AsyncIterator[Connection]:
    """Ours, to the empty database that the CLI is to fill."""
    target = connect_target(fresh_database.dsn)
    connection = await Connection.open(target, application_name="test supabase")
    yield connection
    await connection.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of `schema/`, since the CLI writes into it."""
    shutil.copytree(ROOT / "schema", tmp_path / "schema")
    return tmp_path / "schema"


async def test_db_push_makes_the_same_schema_and_migrate_adopts_it(
    connection: Connection, fresh_database: Database, project: Path
) -> None:
    await supabase(project, fresh_database, "db", "push", "--yes")
    looks = await looks_of(connection)

    report = await migrate(connection)

    assert digest(looks) == EXPECTED.digests[FILES[-1].version]
    assert [step.deed for step in report.steps] == [Deed.ADOPT] * len(FILES)
    assert await looks_of(connection) == looks
    await require_schema(connection)


async def test_after_migrate_db_push_has_nothing_to_do(
    connection: Connection, fresh_database: Database, project: Path
) -> None:
    await migrate(connection)

    said = await supabase(project, fresh_database, "db", "push", "--yes")

    assert "up to date" in said


async def test_migration_list_shows_what_migrate_applied(
    connection: Connection, fresh_database: Database, project: Path
) -> None:
    await migrate(connection)

    said = await supabase(project, fresh_database, "migration", "list", "--output-format", "json")

    shown = json.loads(said.splitlines()[0])
    assert [(row["local"], row["remote"]) for row in shown["migrations"]] == [
        (file.version, file.version) for file in FILES
    ]


async def test_db_push_goes_on_where_migrate_ended(
    connection: Connection, fresh_database: Database, project: Path
) -> None:
    later = project / "supabase" / "migrations" / "20991231000000_later.sql"
    later.write_text("create table public.of_the_user (id int);\n")
    await migrate(connection)

    await supabase(project, fresh_database, "db", "push", "--yes")

    async with fresh_database.connect() as raw:
        assert await raw.fetchval("select to_regclass('public.of_the_user')") is not None
    assert (await migrate(connection)).steps == ()


async def looks_of(connection: Connection) -> Snapshot:
    return await snapshot(connection, Half.COORDINATION)


async def supabase(project: Path, database: Database, *command: str) -> str:
    """Run the CLI against a database, over its unix socket; return all that it says."""
    [host] = connect_target(database.dsn).hosts
    # The CLI wants a host before the path, and takes the socket's directory from the query.
    remote = (
        f"postgresql://postgres@localhost:{host.port}/{database.name}"
        f"?host={host.host}&sslmode=disable"
    )
    with anyio.fail_after(60):
        done = await anyio.run_process(
            [str(CLI), "--workdir", str(project), *command, f"--remote={remote}"],
            env={"DO_NOT_TRACK": "1", "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(project)},
            check=False,
        )
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 0, said
    return said
