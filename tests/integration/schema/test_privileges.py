"""Who may do what: every object of ours, every role, against a table written by hand.

The catalog is asked first, for all of it; then real logins try what they must not do. An object
that the table does not name fails the test, and so does one that is gone.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import pytest

from tests.integration.schema.test_tables import TABLES
from tests.integration.schema.world import World
from tests.support.postgres import Connection, Database

AGENT = "coordinator_agent"
PLAIN = "coordinator_plain_agent"
BOUND = "coordinator_bound_agent"
DAEMON = "coordinator_daemon"
STRANGER = "a login without any role of ours"
ROLES = (AGENT, PLAIN, BOUND, DAEMON, STRANGER)

EVERY = frozenset({"every column"})
Rights = Mapping[str, frozenset[str]]
"""By the name of a right: the columns it is given for."""

ON_TABLES: Mapping[str, Mapping[str, Rights]] = {
    "public.agent_status": {
        PLAIN: {
            "select": EVERY,
            "insert": frozenset(
                {
                    *("agent_name", "status", "current_task", "last_seen", "metadata"),
                    *("blocked_reason", "roles"),
                }
            ),
            "update": frozenset(
                {"status", "current_task", "last_seen", "metadata", "blocked_reason", "roles"}
            ),
        },
        DAEMON: {"select": EVERY, "insert": EVERY, "update": EVERY, "delete": EVERY},
    },
    "public.handoffs": {
        PLAIN: {
            "select": EVERY,
            "insert": frozenset(
                {
                    *("id", "from_agent", "to_agent", "task_description", "status", "context"),
                    *("priority", "available_at", "deadline_at", "timeout", "max_attempts"),
                    *("idempotency_key", "parent_id", "traceparent"),
                }
            ),
            "update": frozenset({"status", "outcome", "result", "last_error"}),
        },
        DAEMON: {"select": EVERY, "insert": EVERY, "update": EVERY, "delete": EVERY},
    },
    "public.coordination_events": {DAEMON: {"select": EVERY}},
    "public.coordination_settings": {DAEMON: {"select": EVERY}},
    "coordination.agent_logins": {DAEMON: {"select": EVERY}},
    "coordination.leadership": {DAEMON: {"select": EVERY, "update": EVERY}},
    "coordination.migrations": {DAEMON: {"select": EVERY}},
    "coordination.tail_cursor": {DAEMON: {"select": EVERY, "update": EVERY}},
}
"""A role that is not named has no right at all."""

ON_FUNCTIONS: Mapping[str, set[str]] = {
    "public.accept_handoff": {AGENT, DAEMON},
    "public.agent_channel": {AGENT, PLAIN, DAEMON},
    "public.cancel_handoff": {AGENT, DAEMON},
    "public.check_wait": {AGENT, DAEMON},
    "public.complete_handoff": {AGENT, DAEMON},
    "public.fail_handoff": {AGENT, DAEMON},
    "public.get_agent_status": {AGENT, DAEMON},
    "public.get_handoff": {AGENT, DAEMON},
    "public.hand_off": {AGENT, DAEMON},
    "public.hand_off_many": {AGENT, DAEMON},
    "public.heartbeat": {AGENT, DAEMON},
    "public.heartbeat_many": {AGENT, DAEMON},
    "public.held_handoff": {AGENT, DAEMON},
    "public.leave": {AGENT, DAEMON},
    "public.register_agent": {AGENT, DAEMON},
    "public.report_progress": {AGENT, DAEMON},
    "public.retry_handoff": {DAEMON},
    "public.set_agent_status": {AGENT, DAEMON},
    "coordination.add_handoffs": set(),
    "coordination.agent_arrives": set(),
    "coordination.agent_changed": set(),
    "coordination.agent_removed": set(),
    "coordination.agent_speaks": set(),
    "coordination.agents_truncated": set(),
    "coordination.bell_is_anew": set(),
    "coordination.binding": {PLAIN},
    "coordination.check_incarnation": set(),
    "coordination.check_items": set(),
    "coordination.check_login": set(),
    "coordination.check_size": set(),
    "coordination.check_wait": set(),
    "coordination.end_handoffs": {DAEMON},
    "coordination.free_agents": set(),
    "coordination.handoff_arrives": set(),
    "coordination.handoff_completes": set(),
    "coordination.handoff_rescheduled": set(),
    "coordination.handoffs_changed": set(),
    "coordination.handoffs_deleted": set(),
    "coordination.handoffs_queued": set(),
    "coordination.handoffs_truncated": set(),
    "coordination.is_token": set(),
    "coordination.keep_late_word": set(),
    "coordination.lock_agent": set(),
    "coordination.lock_handoff": set(),
    "coordination.pause_after": set(),
    "coordination.refuse": {DAEMON},
    "coordination.refuse_agent_change": set(),
    "coordination.refuse_change": set(),
    "coordination.refuse_event_change": set(),
    "coordination.refuse_token": set(),
    "coordination.result_arrives": set(),
    "coordination.ring": set(),
    "coordination.take_back": {DAEMON},
    "coordination.was_settled": set(),
}
"""Who may call."""

SEQUENCES: Mapping[str, Mapping[str, set[str]]] = {
    "coordination.bell": {DAEMON: {"select", "update"}},
    "public.coordination_events_sequence_seq": {},
    "public.handoffs_position_seq": {},
}
"""Whoever may set the bell can silence everybody; an identity column needs no right."""

ON_SCHEMAS: Mapping[str, Mapping[str, set[str]]] = {
    "coordination": {"usage": {DAEMON}, "create": set()},
    "public": {"usage": set(ROLES), "create": set()},
}

POLICIES: Mapping[tuple[str, str], str] = {
    ("agent_status", "daemon_does_all"): DAEMON,
    ("agent_status", "plain_agent_arrives"): PLAIN,
    ("agent_status", "plain_agent_reads"): PLAIN,
    ("agent_status", "plain_agent_speaks"): PLAIN,
    ("handoffs", "daemon_does_all"): DAEMON,
    ("handoffs", "plain_agent_ends"): PLAIN,
    ("handoffs", "plain_agent_reads"): PLAIN,
    ("handoffs", "plain_agent_sends"): PLAIN,
}
"""For whom the rows are open; whoever is not named sees none, whatever it was granted."""

COLUMN_RIGHTS = ("select", "insert", "update", "references")
TABLE_RIGHTS = ("delete", "truncate", "trigger")
OURS = "('public'::regnamespace, 'coordination'::regnamespace)"


# What there is ----------------------------------------------------------------------------------


@pytest.mark.matrix
async def test_every_object_stands_in_the_table(world: World) -> None:
    relations = await world.rows(
        "select c.relkind::text as kind, format('%s.%s', n.nspname, c.relname) as name"
        " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        f" where n.oid in {OURS} and c.relkind not in ('i', 'c')"
    )
    functions = await world.rows(
        "select format('%s.%s', pronamespace::regnamespace, proname)"
        f" from pg_proc where pronamespace in {OURS}"
    )
    policies = await world.rows("select tablename, policyname from pg_policies")
    schemas = await world.rows("select nspname from pg_namespace where nspname !~ '^(pg_|info)'")

    assert {row["name"] for row in relations if row["kind"] == "r"} == set(ON_TABLES) == set(TABLES)
    assert {row["name"] for row in relations if row["kind"] == "S"} == set(SEQUENCES)
    assert {row["kind"] for row in relations} == {"r", "S"}
    assert sorted(row[0] for row in functions) == sorted(ON_FUNCTIONS)
    assert {tuple(row) for row in policies} == set(POLICIES)
    assert {row[0] for row in schemas} == set(ON_SCHEMAS)


# What the catalog says --------------------------------------------------------------------------


@pytest.mark.matrix
@pytest.mark.parametrize("role", ROLES)
async def test_a_role_has_the_rights_on_tables_that_it_needs(world: World, role: str) -> None:
    async with a_role(world, role) as name:
        found = {table: await rights(world, name, table) for table in ON_TABLES}

    assert found == {table: given.get(role, {}) for table, given in ON_TABLES.items()}


@pytest.mark.matrix
@pytest.mark.parametrize("role", ROLES)
async def test_a_role_may_call_what_it_needs(world: World, role: str) -> None:
    async with a_role(world, role) as name:
        rows = await world.rows(
            "select format('%s.%s', pronamespace::regnamespace, proname) from pg_proc"
            f" where pronamespace in {OURS} and has_function_privilege($1, oid, 'execute')",
            name,
        )

    assert {row[0] for row in rows} == {
        function for function, callers in ON_FUNCTIONS.items() if role in callers
    }


@pytest.mark.matrix
@pytest.mark.parametrize("role", ROLES)
async def test_a_role_enters_the_schemas_that_it_needs(world: World, role: str) -> None:
    async with a_role(world, role) as name:
        found = {
            (schema, right): await world.value(
                "select has_schema_privilege($1, $2, $3)", name, schema, right
            )
            for schema, given in ON_SCHEMAS.items()
            for right in given
        }

    assert found == {
        (schema, right): role in holders
        for schema, given in ON_SCHEMAS.items()
        for right, holders in given.items()
    }


@pytest.mark.matrix
@pytest.mark.parametrize("role", ROLES)
async def test_a_role_has_the_rights_on_sequences_that_it_needs(world: World, role: str) -> None:
    async with a_role(world, role) as name:
        for sequence, given in SEQUENCES.items():
            assert {
                right
                for right in ("usage", "select", "update")
                if await world.value(
                    "select has_sequence_privilege($1, $2, $3)", name, sequence, right
                )
            } == given.get(role, set())


@pytest.mark.matrix
async def test_no_right_may_be_passed_on(world: World) -> None:
    """Neither by its holder, nor is one given to a role that the table does not know."""
    rows = await world.rows(
        "select distinct coalesce(r.rolname, 'public') as grantee, x.is_grantable"
        " from (select relacl as list, relowner as owner from pg_class where relnamespace in "
        f"{OURS} union all select proacl, proowner from pg_proc where pronamespace in {OURS}"
        " union all select attacl, relowner from pg_attribute join pg_class c on c.oid = attrelid"
        f" where relnamespace in {OURS}"
        " union all select nspacl, nspowner from pg_namespace where nspname = 'coordination') l,"
        " aclexplode(l.list) x left join pg_roles r on r.oid = x.grantee"
        " where x.grantee <> l.owner"
    )

    assert {tuple(row) for row in rows} == {(role, False) for role in (AGENT, PLAIN, DAEMON)}


@pytest.mark.matrix
async def test_rows_are_open_to_the_roles_that_need_them_and_to_nobody_else(world: World) -> None:
    rows = await world.rows("select tablename, policyname, permissive, roles from pg_policies")
    guarded = await world.rows(
        "select relname from pg_class where relrowsecurity and not relforcerowsecurity"
    )

    assert {(row[0], row[1]): (row[2], row[3]) for row in rows} == {
        key: ("PERMISSIVE", [role]) for key, role in POLICIES.items()
    }
    assert {row[0] for row in guarded} == {"agent_status", "handoffs"}


async def test_each_role_reaches_the_schema_without_the_publics_help(world: World) -> None:
    await world.execute("revoke usage on schema public from public")

    assert [
        await world.value("select has_schema_privilege($1, 'public', 'usage')", role)
        for role in (DAEMON, AGENT, PLAIN)
    ] == [True] * 3


# What real logins can do ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Deed:
    """A statement that one right decides on; it is explained, so that nothing comes of it."""

    what: str
    sql: str
    allowed: bool


@pytest.mark.matrix
@pytest.mark.parametrize("role", ROLES)
async def test_a_login_is_refused_whatever_the_table_does_not_give_it(
    world: World, common_database: Database, role: str
) -> None:
    columns = {table: await columns_of(world, table) for table in ON_TABLES}
    calls = await calls_of(world)

    async with a_login(common_database, role) as login:
        answers = {
            deed.what: (await is_allowed(login, deed.sql), deed.allowed)
            for deed in deeds(role, columns, calls)
        }

    assert len(answers) > 250
    wrong = {what: got for what, (got, allowed) in answers.items() if got is not allowed}
    assert wrong == {}


FORBIDDEN_TO_ALL = [
    "alter table public.handoffs disable trigger all",
    "alter table public.handoffs disable row level security",
    "alter table coordination.agent_logins add column x int",
    "create policy mine on public.handoffs using (true)",
    "drop policy plain_agent_reads on public.handoffs",
    "create trigger mine before insert on public.handoffs"
    " for each row execute function suppress_redundant_updates_trigger()",
    "create rule mine as on insert to public.handoffs do instead nothing",
    "create index on public.handoffs (result)",
    "create table public.handoffs_of_mine (like public.handoffs)",
    "create function public.heartbeat(text) returns void language sql as ''",
    "create function coordination.mine() returns void language sql as ''",
    "alter function public.heartbeat security invoker",
    "alter default privileges for role postgres grant all on tables to public",
    "grant coordinator_daemon to current_user",
    "set role postgres",
    "set session authorization postgres",
    "set session_replication_role = replica",
    "set row_security = off; select from public.handoffs",
    "lock table public.handoffs in access exclusive mode",
    "truncate public.handoffs",
    "select lo_import('/etc/passwd')",
    "copy (select 1) to '/tmp/x'",
    "copy (select 1) to program 'true'",
]
"""None of our roles owns anything."""


@pytest.mark.parametrize("role", ROLES)
async def test_no_login_changes_the_schema_or_its_own_place_in_it(
    common_database: Database, role: str
) -> None:
    async with a_login(common_database, role) as login:
        done = [sql for sql in FORBIDDEN_TO_ALL if await is_allowed(login, sql, explain=False)]

    # The daemon may write the table, so PostgreSQL lets it lock it.
    expected = [sql for sql in FORBIDDEN_TO_ALL if role == DAEMON and sql.startswith("lock")]
    assert done == expected


@pytest.mark.parametrize("role", ROLES)
async def test_no_login_reads_business_data(
    committed: World, database: Database, role: str
) -> None:
    """A table of somebody else's, beside ours and in a schema of its own."""
    await committed.execute(
        "create table public.invoices (secret text); create schema business;"
        " create table business.clients (secret text);"
        " create function business.secret() returns text language sql as 'select ''x''';"
        " revoke execute on function business.secret from public"
    )
    attempts = [
        "select secret from public.invoices",
        "insert into public.invoices values ('x')",
        "update public.invoices set secret = 'x'",
        "delete from public.invoices",
        "truncate public.invoices",
        "select secret from business.clients",
        "select business.secret()",
    ]

    async with a_login(database, role) as login:
        done = [sql for sql in attempts if await is_allowed(login, sql, explain=False)]

    assert done == []


@pytest.mark.parametrize("role", ROLES)
async def test_our_roles_have_no_right_on_anything_that_is_not_ours(
    world: World, role: str
) -> None:
    await world.execute("create table public.invoices (secret text)")

    async with a_role(world, role) as name:
        rows = await world.rows(
            "select c.oid::regclass::text from pg_class c"
            " join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname !~ '^(pg_|information_schema)' and c.relkind in ('r', 'v', 'm', 'f')"
            " and (has_any_column_privilege($1, c.oid, 'select, insert, update, references')"
            "   or has_table_privilege($1, c.oid, 'delete, truncate, trigger'))",
            name,
        )

    ours = {table for table, given in ON_TABLES.items() if given.get(role)}
    assert {row[0] for row in rows} == {table.removeprefix("public.") for table in ours}


async def test_a_role_of_ones_own_sees_no_rows_until_it_has_a_policy(
    committed: World, database: Database
) -> None:
    await committed.handoff("ada")
    async with a_login(database, STRANGER) as login:
        name = await login.fetchval("select session_user")
        await committed.execute(f"grant select on public.handoffs to {name}")
        without = await login.fetch("select from public.handoffs")
        await committed.execute(
            f"create policy it_reads on public.handoffs for select to {name} using (true)"
        )
        with_policy = await login.fetch("select from public.handoffs")

    assert (len(without), len(with_policy)) == (0, 1)


# Means ------------------------------------------------------------------------------------------


@asynccontextmanager
async def a_role(world: World, role: str) -> AsyncIterator[str]:
    """The role's name; a stranger is made, and goes with the transaction."""
    if role == STRANGER:
        await world.execute("create role a_stranger login")
        yield "a_stranger"
    else:
        yield role


@asynccontextmanager
async def a_login(database: Database, role: str) -> AsyncIterator[Connection]:
    """A connection of a real login with this role and no other; the login is dropped at the end."""
    name = f"login_of_{database.name}"
    membership = "" if role == STRANGER else f"in role {role}"
    async with database.connect() as owner:
        await owner.execute(f"create role {name} login {membership}")
        try:
            async with database.connect(user=name) as connection:
                yield connection
        finally:
            await owner.execute(f"drop owned by {name}; drop role {name}")


async def rights(world: World, role: str, table: str) -> Rights:
    """What the catalog says that a role may do with a table."""
    every = await columns_of(world, table)
    found: dict[str, frozenset[str]] = {}
    for right in COLUMN_RIGHTS:
        rows = await world.rows(
            "select attname from pg_attribute where attrelid = $2::regclass and attnum > 0"
            " and not attisdropped and has_column_privilege($1, attrelid, attnum, $3)",
            role,
            table,
            right,
        )
        if rows:
            columns = frozenset(row[0] for row in rows)
            found[right] = EVERY if columns == frozenset(every) else columns
    version = await world.value("select current_setting('server_version_num')::int")
    for right in (*TABLE_RIGHTS, *(["maintain"] if version >= 170000 else [])):
        if await world.value("select has_table_privilege($1, $2, $3)", role, table, right):
            found[right] = EVERY
    return found


async def columns_of(world: World, table: str) -> list[str]:
    """A table's columns, in order."""
    rows = await world.rows(
        "select attname from pg_attribute where attrelid = $1::regclass and attnum > 0"
        " and not attisdropped order by attnum",
        table,
    )
    return [row[0] for row in rows]


async def calls_of(world: World) -> dict[str, str]:
    """A call of each function but the triggers', with empty values."""
    rows = await world.rows(
        "select format('%s.%s', pronamespace::regnamespace, proname) as name,"
        # Not null for a text: a strict function of a constant null is never called.
        " array(select format('%L::%s', case t when 'text'::regtype then '' end, t::regtype)"
        "   from unnest(proargtypes::oid[]) with ordinality as a (t, n) order by n) as values"
        f" from pg_proc where pronamespace in {OURS} and prorettype <> 'trigger'::regtype"
    )
    return {row["name"]: f"select {row['name']}({', '.join(row['values'])})" for row in rows}


def deeds(role: str, columns: Mapping[str, list[str]], calls: Mapping[str, str]) -> Iterator[Deed]:
    """Everything that somebody might do with each table, column and function."""
    for table, names in columns.items():
        given = ON_TABLES[table].get(role, {})
        for name in names:
            yield from column_deeds(table, name, given)
        yield Deed(f"delete from {table}", f"delete from {table}", "delete" in given)
    for function, call in calls.items():
        allowed = role in ON_FUNCTIONS[function]
        # Without the right to enter the schema, the right to call is of no use by itself.
        if not function.startswith("public.") and role != DAEMON:
            allowed = False
        yield Deed(call, call, allowed)


def column_deeds(table: str, column: str, given: Rights) -> Iterator[Deed]:
    """Everything that somebody might do with a column."""
    statements = {
        "select": f"select {column} from {table}",
        "insert": f"insert into {table} ({column}) overriding user value values (default)",
        "update": f"update {table} set {column} = default",
    }
    for right, sql in statements.items():
        held = given.get(right, frozenset())
        yield Deed(sql, sql, held == EVERY or column in held)


async def is_allowed(login: Connection, sql: str, *, explain: bool = True) -> bool:
    """Whether a statement gets past the rights; whatever it did is undone."""
    transaction = login.transaction()
    await transaction.start()
    try:
        await login.execute(f"explain {sql}" if explain else sql)
    except asyncpg.InsufficientPrivilegeError:
        return False
    finally:
        await transaction.rollback()
    return True
