"""`doctor` names what is wrong with a database, and the statement it gives mends it."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest

from coordinator.operate.doctor import (
    Finding,
    Severity,
    diagnose,
    health_findings,
    link_findings,
    server_findings,
)
from coordinator.operate.drift import drift_findings
from coordinator.store.catalog import CatalogObject, Difference, expected_catalog
from coordinator.store.connection import Connection
from coordinator.store.dsn import connect_target
from coordinator.store.halves import Half
from coordinator.store.migrations import migrate, migrations
from coordinator.store.passes import Server
from coordinator.store.schema_health import SchemaHealth
from tests.support.postgres import Connection as RawConnection
from tests.support.postgres import Database
from tests.support.store import opened

WELL = SchemaHealth([], ["ada"], 0.0, 0, timedelta(0))


@pytest.fixture
async def patient(database: Database) -> AsyncIterator[Connection]:
    """A connection to a migrated database with its histories."""
    async with opened(database.dsn) as connection:
        await migrate(connection)
        yield connection


async def test_a_migrated_database_is_well(patient: Connection) -> None:
    assert await diagnose(patient) == []


async def test_the_daemons_rights_are_enough_to_ask(
    patient: Connection, database: Database
) -> None:
    async with opened(f"{database.dsn}&options=-c%20role%3Dcoordinator_daemon") as daemon:
        assert await diagnose(daemon) == []


async def test_what_the_server_notes_of_its_own_is_no_drift(
    patient: Connection, database: Database
) -> None:
    async with database.connect() as owner:
        await owner.execute(
            "update pg_attribute set attoptions = '{pg_attver=7}'"
            " where attrelid = 'public.handoffs'::regclass"
        )

    assert await diagnose(patient) == []


async def test_options_that_somebody_set_are_drift(patient: Connection, database: Database) -> None:
    async with database.connect() as owner:
        await owner.execute("alter table public.handoffs alter to_agent set (n_distinct = 5)")

    assert [finding.what for finding in await diagnose(patient)] == [
        "column to_agent on public.handoffs is text not null with n_distinct=5, not text not null"
    ]


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (
            "alter table public.handoffs disable trigger handoffs_changed",
            "trigger handoffs_changed on public.handoffs is disabled",
        ),
        (
            "drop trigger handoffs_changed on public.handoffs",
            "trigger handoffs_changed on public.handoffs is missing",
        ),
        (
            """
            drop trigger handoffs_queued on public.handoffs;
            create trigger handoffs_queued after insert on public.handoffs
              for each row execute function coordination.handoffs_queued()
            """,
            "trigger handoffs_queued on public.handoffs is changed",
        ),
        (
            "create trigger mine before insert on public.handoffs"
            " for each row execute function suppress_redundant_updates_trigger()",
            "trigger mine on public.handoffs is not of this release",
        ),
        (
            "drop index public.handoffs_due",
            "index handoffs_due on public.handoffs is missing",
        ),
        (
            "drop index public.one_handoff_in_progress_per_agent",
            "index one_handoff_in_progress_per_agent on public.handoffs is missing",
        ),
        (
            """
            drop index public.handoffs_due;
            create index handoffs_due on public.handoffs (to_agent)
            """,
            "index handoffs_due on public.handoffs is changed",
        ),
        (
            "alter table public.handoffs drop constraint context_must_be_a_json_object",
            "constraint context_must_be_a_json_object on public.handoffs is missing",
        ),
        (
            """
            alter table public.handoffs drop constraint outcome_exactly_when_completed;
            alter table public.handoffs add constraint outcome_exactly_when_completed check (true)
            """,
            "constraint outcome_exactly_when_completed on public.handoffs is changed",
        ),
        (
            "alter table public.handoffs add column colour text",
            "column colour on public.handoffs is not of this release",
        ),
        (
            "alter table public.handoffs drop column traceparent",
            "column traceparent on public.handoffs is missing",
        ),
        (
            "revoke execute on function public.heartbeat from coordinator_agent",
            "coordinator_agent lacks the grant of execute on function public.heartbeat(",
        ),
        (
            "revoke insert (context) on public.handoffs from coordinator_plain_agent",
            "coordinator_plain_agent lacks the grant of insert(context) on table public.handoffs",
        ),
        (
            "grant delete on public.handoffs to coordinator_plain_agent",
            "coordinator_plain_agent has a grant of delete on table public.handoffs",
        ),
        (
            "grant execute on function coordination.take_back to public",
            "public has a grant of execute on function coordination.take_back(",
        ),
    ],
    ids=lambda text: " ".join(text.split()),
)
async def test_harm_is_named_and_the_given_statement_mends_it(
    patient: Connection, harm: str, what: str
) -> None:
    await patient.execute(harm)

    findings = await diagnose(patient)

    assert any(finding.what.startswith(what) for finding in findings), findings
    for finding in findings:
        await patient.execute(finding.fix.removeprefix("If nobody needs it: "))
    assert await diagnose(patient) == []


async def test_a_changed_function_is_named_with_the_file_that_mends_it(
    patient: Connection,
) -> None:
    await patient.execute("""
        create or replace function public.agent_channel(agent_name text) returns text
        language sql immutable strict parallel safe set search_path = '' as $$ select agent_name $$
    """)

    [finding] = await diagnose(patient)

    assert finding.what == "function public.agent_channel(text) is changed"
    assert finding.severity is Severity.ERROR
    assert "creates it in 20261201100000_" in finding.fix


async def test_what_altered_a_function_later_is_named_as_well(patient: Connection) -> None:
    await patient.execute("alter function public.leave reset all")

    [finding] = await diagnose(patient)

    assert finding.fix == (
        "Run the statement that creates it in 20261122160000_agent_logins.sql again as create or"
        " replace. Then its alter function in 20261201100000_less_work_for_each_handoff.sql."
    )


async def test_a_function_that_runs_with_the_callers_rights_is_named(
    patient: Connection,
) -> None:
    await patient.execute("alter function coordination.handoffs_changed() security invoker")

    [finding] = await diagnose(patient)

    assert finding.what == "function coordination.handoffs_changed() is changed"


async def test_a_changed_column_is_shown_beside_what_it_should_be(patient: Connection) -> None:
    await patient.execute("alter table public.handoffs alter column priority set default 7")

    [finding] = await diagnose(patient)

    assert finding.what == (
        "column priority on public.handoffs is integer not null default 7,"
        " not integer not null default 0"
    )


def test_every_object_that_is_missing_is_named_with_a_way_out() -> None:
    expected = expected_catalog(Half.COORDINATION).objects
    differences = [Difference(key, text, None) for key, text in expected.items()]

    findings = drift_findings(differences, migrations(Half.COORDINATION))

    for difference, finding in zip(differences, findings, strict=True):
        assert difference.object.name.split(" to ")[0] in finding.what
        assert finding.fix.endswith((";", "."))
        assert "from a dump" not in finding.fix or difference.object.kind in {"schema", "sequence"}


def test_the_parts_of_a_missing_table_are_not_listed() -> None:
    expected = expected_catalog(Half.COORDINATION)
    table = CatalogObject("table", "", "coordination.leadership")
    without = {
        key: text
        for key, text in expected.objects.items()
        if table.name not in (key.name, key.parent) and key.parent != str(table)
    }

    assert [difference.object for difference in expected.differences(without)] == [table]


async def test_an_empty_database_lacks_the_schema(fresh_database: Database) -> None:
    async with opened(fresh_database.dsn) as connection:
        [finding] = [
            finding
            for finding in await diagnose(connection)
            if finding.severity is Severity.ERROR and "schema" in finding.what
        ]

    assert finding.what == "the schema is missing"
    assert "coordinator migrate" in finding.fix


async def test_an_older_schema_is_named(fresh_database: Database) -> None:
    async with opened(fresh_database.dsn) as connection:
        for file in migrations(Half.COORDINATION)[:2]:
            await connection.execute(file.text)

        findings = await diagnose(connection)

    assert "the schema is older than this release" in whats(findings)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (
            "breaking_later",
            (Severity.ERROR, "the database's schema is newer than this release can work with"),
        ),
        (
            "later",
            (Severity.NOTE, "the schema's coordination half is ahead of this release, at 20991231"),
        ),
    ],
)
async def test_a_newer_schema_is_named(
    patient: Connection, connection: RawConnection, name: str, what: tuple[Severity, str]
) -> None:
    await connection.execute(
        "insert into coordination.migrations values ('20991231', $1, '')", name
    )

    first = (await diagnose(patient))[0]

    assert (first.severity, first.what) == what


async def test_a_schema_that_psql_made_is_right_but_has_no_history(database: Database) -> None:
    async with opened(database.dsn) as connection:
        [finding] = await diagnose(connection)

    assert finding.severity is Severity.NOTE
    assert "coordinator migrate" in finding.fix


async def test_rows_that_contradict_each_other_are_named(
    patient: Connection, connection: RawConnection
) -> None:
    handoff = uuid4()
    await connection.execute("set session_replication_role = replica")
    await connection.execute(
        "insert into agent_status (agent_name, status, current_handoff) values ($1, 'working', $2)",
        "ada",
        handoff,
    )

    assert whats(await diagnose(patient)) == [
        f"agent ada and handoff {handoff} contradict each other"
    ]


async def test_a_handoff_that_its_agent_does_not_hold_is_named(
    patient: Connection, connection: RawConnection
) -> None:
    handoff = uuid4()
    await connection.execute("set session_replication_role = replica")
    await connection.execute(
        """
        insert into handoffs (id, root_id, from_agent, to_agent, task_description, status,
          assigned_agent, dispatched_at, attempt)
        values ($1, $1, 'boss', 'ada', 'do it', 'in_progress', 'ada', now(), 1)
        """,
        handoff,
    )

    assert whats(await diagnose(patient)) == [
        f"agent ada and handoff {handoff} contradict each other"
    ]


async def test_functions_of_another_owner_are_named(
    patient: Connection, connection: RawConnection
) -> None:
    await connection.execute(
        "alter function coordination.handoffs_changed() owner to coordinator_daemon"
    )

    found = whats(await diagnose(patient))

    assert "the schema has several owners: coordinator_daemon, postgres" in found


async def test_a_prepared_transaction_is_named(
    patient: Connection, connection: RawConnection
) -> None:
    name = f"left behind {uuid4()}"
    await connection.execute("begin; create table public.half_done ()")
    await connection.execute(f"prepare transaction '{name}'")
    try:
        found = whats(await diagnose(patient))
    finally:
        await connection.execute(f"rollback prepared '{name}'")

    assert found == ["1 prepared transactions are open"]


async def test_a_limit_on_idle_sessions_is_named(patient: Connection, database: Database) -> None:
    async with opened(f"{database.dsn}&options=-c%20idle_session_timeout%3D60000") as limited:
        assert whats(await diagnose(limited)) == ["idle_session_timeout is 60 s"]


async def test_a_link_that_swallows_notifications_is_named(
    patient: Connection, database: Database
) -> None:
    async with a_pooler_that_delivers_nothing(database) as dsn, opened(dsn) as deaf:
        assert whats(await diagnose(deaf)) == ["no notification arrives"]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (140019, "PostgreSQL x is too old"),
        (150015, "PostgreSQL x can lose notifications"),
        (150016, None),
        (160011, "PostgreSQL x can lose notifications"),
        (160012, None),
        (170007, "PostgreSQL x can lose notifications"),
        (170008, None),
        (180001, "PostgreSQL x can lose notifications"),
        (180002, None),
        (190000, None),
    ],
)
def test_a_server_too_old_to_be_trusted_is_named(version: int, expected: str | None) -> None:
    found = server_findings(Server(standby=False, version=version, version_text="x"))

    assert whats(found) == ([expected] if expected else [])


def test_a_standby_is_named() -> None:
    found = server_findings(Server(standby=True, version=150018, version_text="15.18"))

    assert whats(found) == ["the server is a standby"]


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        (WELL, []),
        (
            SchemaHealth(["coordinator_agent"], ["ada"], 0.0, 0, timedelta(0)),
            ["role coordinator_agent is missing"],
        ),
        (
            SchemaHealth([], ["coordinator_daemon"], 0.0, 0, timedelta(0)),
            ["the schema is owned by coordinator_daemon"],
        ),
        (
            SchemaHealth([], ["ada"], 0.51, 0, timedelta(0)),
            ["the notification queue is 51% full"],
        ),
        (SchemaHealth([], ["ada"], 0.5, 0, timedelta(0)), []),
        (
            SchemaHealth([], ["ada"], 0.0, 0, timedelta(0), ["agent_ada"]),
            ["login agent_ada is bound to one agent, and may do more than any"],
        ),
    ],
)
def test_the_state_of_the_server_is_judged(health: SchemaHealth, expected: list[str]) -> None:
    assert whats(health_findings(health)) == expected


@pytest.mark.parametrize("right", ["superuser", "bypassrls", "in role coordinator_daemon"])
async def test_a_bound_login_with_other_rights_is_named(
    patient: Connection, connection: RawConnection, right: str
) -> None:
    name = f"agent_of_{await connection.fetchval('select current_database()')}"
    await connection.execute(f"create role {name} {right}; grant coordinator_bound_agent to {name}")
    try:
        found = whats(await diagnose(patient))
    finally:
        await connection.execute(f"drop role {name}")

    assert found == [f"login {name} is bound to one agent, and may do more than any"]


@pytest.mark.parametrize(
    ("role", "severity"),
    [
        ("dashboard", Severity.NOTE),
        ("public", Severity.WARNING),
        ("coordinator_plain_agent", Severity.WARNING),
    ],
)
async def test_a_policy_that_opens_rows_is_named(
    patient: Connection, connection: RawConnection, role: str, severity: Severity
) -> None:
    if role == "dashboard":
        role = f"dashboard_of_{await connection.fetchval('select current_database()')}"
        await connection.execute(f"create role {role}")
    try:
        await patient.execute(
            f"create policy more on public.handoffs for select to {role} using (true)"
        )
        [finding] = await diagnose(patient)
    finally:
        await connection.execute("drop policy more on public.handoffs")
        if role.startswith("dashboard"):
            await connection.execute(f"drop role {role}")

    assert finding.what == "policy more on public.handoffs is not of this release"
    assert finding.severity is severity


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("postgresql://localhost/x?sslmode=disable", []),
        ("postgresql://db/x", []),
        ("postgresql://db/x?sslmode=verify-ca", []),
        ("postgresql://db/x?sslmode=require", ["db:5432"]),
        ("postgresql://db/x?sslmode=disable", ["db:5432"]),
    ],
)
def test_a_server_that_need_not_prove_itself_is_noted(dsn: str, expected: list[str]) -> None:
    found = link_findings(connect_target(dsn))

    assert whats(found) == [
        f"the server at {place} does not have to prove who it is" for place in expected
    ]


def whats(findings: list[Finding]) -> list[str]:
    return [finding.what for finding in findings]


@asynccontextmanager
async def a_pooler_that_delivers_nothing(database: Database) -> AsyncIterator[str]:
    """A unix socket in front of the server that drops what a transaction-mode pooler drops.

    Notifications that come in answer to a client's own NOTIFY are dropped too: a pooler may pass
    those on, and they prove nothing.
    """
    [host] = connect_target(database.dsn).hosts

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = f"{host.host}/.s.PGSQL.{host.port}"
        behind_reader, behind_writer = await asyncio.open_unix_connection(path)
        async with asyncio.TaskGroup() as both:
            both.create_task(pass_on(reader, behind_writer))
            both.create_task(pass_on_all_but_notifications(behind_reader, writer))

    with tempfile.TemporaryDirectory(prefix="deaf-") as folder:
        server = await asyncio.start_unix_server(serve, Path(folder, f".s.PGSQL.{host.port}"))
        try:
            yield f"postgresql://postgres@/{database.name}?host={quote(folder)}&port={host.port}"
        finally:
            server.close()


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def pass_on_all_but_notifications(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    while head := await reader.read(1):
        head += await reader.readexactly(4)
        body = await reader.readexactly(int.from_bytes(head[1:]) - 4)
        if head[:1] != b"A":
            writer.write(head + body)
            await writer.drain()
    writer.close()
