"""The business tables by themselves: what each constraint refuses, and what the catalog holds.

The triggers of ours are off where a constraint is tried, so that nothing else can refuse.
"""

from collections.abc import AsyncIterator, Mapping

import asyncpg
import pytest
import pytest_asyncio

from coordinator.store.halves import Half
from tests.integration.schema.test_tables import TABLES as COORDINATION_TABLES
from tests.integration.schema.world import World
from tests.support.postgres import Cluster, Database, migrate, migration_files
from tests.support.supabase import OWNER, Defaults, migrate_both

TABLES = (
    "public.users",
    "public.workspaces",
    "public.workspace_members",
    "public.workspace_agents",
    "public.clients",
    "public.tasks",
)

ADA, BOB, GHOST, ACME, OTHER, STRANGE = (
    f"'00000000-0000-0000-0000-{n:012}'::uuid" for n in range(1, 7)
)

ROWS = f"""
insert into auth.users (id) values ({ADA}), ({BOB});
insert into workspaces (id, name, slug, owner_id)
values ({ACME}, 'Acme', 'acme', {ADA}), ({OTHER}, 'Other', 'other', {BOB});
insert into workspace_agents (workspace_id, address) values ({ACME}, 'codex');
insert into clients (id, workspace_id, name)
values ({ACME}, {ACME}, 'Cli'), ({OTHER}, {OTHER}, 'O');
insert into tasks (id, workspace_id, title)
values ({ACME}, {ACME}, 'write'), ({BOB}, {ACME}, 'read');
set constraints all immediate;
set constraints all deferred;

-- A member who is nobody, past the foreign keys: the only way to try tasks_assignee_id_fkey alone.
set local session_replication_role = replica;
insert into workspace_members (workspace_id, user_id) values ({ACME}, {GHOST});
set local session_replication_role = origin;
""" + "".join(f"alter table {table} disable trigger user;\n" for table in TABLES)

WRITE = f"where id = {ACME}"
"""The task that is changed."""


def row(table: str, **values: str) -> str:
    """A new row, of SQL expressions."""
    return f"insert into {table} ({', '.join(values)}) values ({', '.join(values.values())})"


FORBIDDEN: Mapping[str, tuple[str, ...]] = {
    "users_pkey": (row("users", id=ADA),),
    "users_id_fkey": (row("users", id=STRANGE),),
    "full_name_must_be_at_most_200_characters": ("update users set full_name = repeat('é', 201)",),
    "avatar_url_must_be_at_most_2000_characters": (
        "update users set avatar_url = repeat('x', 2001)",
    ),
    "user_role_must_be_admin_manager_or_member": (
        "update users set role = 'owner'",
        "update users set role = ''",
    ),
    "workspaces_pkey": (row("workspaces", id=ACME, name="'x'", slug="'x'", owner_id=ADA),),
    "workspaces_slug_key": (row("workspaces", name="'Acme'", slug="'acme'", owner_id=ADA),),
    "workspaces_owner_id_fkey": (f"update workspaces set owner_id = {GHOST} {WRITE}",),
    "owner_must_be_a_member": (
        f"delete from workspace_members where user_id = {ADA}; set constraints all immediate",
        f"update workspaces set owner_id = {BOB} {WRITE}; set constraints all immediate",
    ),
    "workspace_name_must_be_1_to_200_characters": (
        "update workspaces set name = ''",
        "update workspaces set name = ' '",
        "update workspaces set name = repeat('x', 201)",
        "update workspaces set name = 'x' || repeat(' ', 200)",
    ),
    "slug_must_be_1_to_63_small_letters_digits_and_single_hyphens": (
        f"update workspaces set slug = repeat('x', 64) {WRITE}",
        *(
            f"update workspaces set slug = {slug} {WRITE}"
            for slug in ("''", "'A'", "'a--b'", "'-a'", "'a-'", "'a b'", "'é'", "e'a\\n'", "'a/b'")
        ),
    ),
    "workspace_members_pkey": (row("workspace_members", workspace_id=ACME, user_id=ADA),),
    "workspace_members_workspace_id_fkey": (
        row("workspace_members", workspace_id=STRANGE, user_id=ADA),
    ),
    "workspace_members_user_id_fkey": (
        row("workspace_members", workspace_id=ACME, user_id=STRANGE),
    ),
    "member_role_must_be_owner_or_member": (
        f"update workspace_members set role = 'admin' where user_id = {ADA}",
    ),
    "workspace_agents_pkey": (row("workspace_agents", workspace_id=ACME, address="'codex'"),),
    "workspace_agents_workspace_id_fkey": (
        row("workspace_agents", workspace_id=STRANGE, address="'codex'"),
    ),
    "address_must_be_1_to_128_printable_characters": tuple(
        f"update workspace_agents set address = {address}"
        for address in ("''", "' a'", "'a '", "e'a\\nb'", "repeat('x', 129)")
    ),
    "clients_pkey": (row("clients", id=ACME, workspace_id=OTHER, name="'x'"),),
    "clients_of_a_workspace": (
        "alter table clients drop constraint clients_pkey;"
        + row("clients", id=ACME, workspace_id=ACME, name="'x'"),
    ),
    "clients_workspace_id_fkey": (row("clients", workspace_id=STRANGE, name="'x'"),),
    "client_name_must_be_1_to_200_characters": (
        "update clients set name = ''",
        "update clients set name = ' '",
        "update clients set name = repeat('x', 201)",
    ),
    "contact_email_must_be_an_address": tuple(
        f"update clients set contact_email = {address}"
        for address in (
            "''",
            "'ada'",
            "'@x'",
            "'a@'",
            "'a@b@c'",
            "'a b@c'",
            "repeat('x', 320)||'@'",
        )
    ),
    "client_status_must_be_active_onboarding_or_churned": ("update clients set status = 'Active'",),
    "tasks_pkey": (row("tasks", id=ACME, workspace_id=ACME, title="'x'"),),
    "tasks_workspace_id_fkey": (f"update tasks set workspace_id = {STRANGE}",),
    "client_must_belong_to_the_workspace": (
        f"update tasks set client_id = {OTHER}",
        f"update tasks set client_id = {STRANGE}",
        f"update tasks set client_id = {ACME}; update tasks set workspace_id = {OTHER}",
    ),
    "tasks_assignee_id_fkey": (f"update tasks set assignee_id = {GHOST}",),
    "assignee_must_be_a_member": (
        f"update tasks set assignee_id = {BOB}",
        f"update tasks set assignee_id = {ADA}; update tasks set workspace_id = {OTHER}",
    ),
    "title_must_be_1_to_500_characters": (
        "update tasks set title = ''",
        "update tasks set title = ' '",
        "update tasks set title = repeat('x', 501)",
    ),
    "description_must_be_at_most_100000_characters": (
        "update tasks set description = repeat('x', 100001)",
    ),
    "task_status_must_be_todo_in_progress_review_or_done": ("update tasks set status = 'open'",),
    "priority_must_be_low_medium_high_or_urgent": ("update tasks set priority = 'normal'",),
    "note_must_be_at_most_4000_characters": ("update tasks set note = repeat('x', 4001)",),
    "one_task_per_handoff": (f"update tasks set handoff_id = {STRANGE}",),
}
"""What each constraint and unique index forbids, and no other one does."""

ALLOWED = (
    f"update users set full_name = repeat('é', 200), avatar_url = repeat('x', 2000)"
    f" where id = {ADA}",
    *(f"update users set role = '{role}'" for role in ("admin", "manager", "member")),
    f"update workspaces set name = repeat('é', 200), slug = repeat('x', 63) {WRITE}",
    f"update workspaces set slug = 'a-1-b' {WRITE}",
    *(f"update workspace_agents set address = {name}" for name in ("'a b'", "repeat('é', 128)")),
    *(f"update clients set status = '{s}'" for s in ("active", "onboarding", "churned")),
    "update clients set name = repeat('é', 200), contact_email = repeat('x', 318) || '@y'",
    "update clients set contact_email = null",
    *(f"update tasks set status = '{s}'" for s in ("todo", "in_progress", "review", "done")),
    *(f"update tasks set priority = '{p}'" for p in ("low", "medium", "high", "urgent")),
    "update tasks set title = repeat('é', 500), description = repeat('é', 100000),"
    " note = repeat('é', 4000)",
    f"update tasks set client_id = {ACME}, assignee_id = {ADA}, due_date = '2026-12-31'",
    "update tasks set client_id = null, assignee_id = null, handoff_id = null",
)
"""The most that the constraints leave free."""

GIVEN = {
    "users": {
        "id": "uuid",
        "full_name": "text",
        "avatar_url": "text",
        "role": "text",
        "created_at": "timestamp with time zone",
    },
    "workspaces": {"id": "uuid", "name": "text", "slug": "text", "owner_id": "uuid"},
    "clients": {
        "id": "uuid",
        "workspace_id": "uuid",
        "name": "text",
        "contact_email": "text",
        "status": "text",
    },
    "tasks": {
        "id": "uuid",
        "workspace_id": "uuid",
        "client_id": "uuid",
        "title": "text",
        "description": "text",
        "status": "text",
        "assignee_id": "uuid",
        "priority": "text",
        "due_date": "date",
    },
}
"""The columns that others rely on."""

NULLABLE = {
    "users.full_name",
    "users.avatar_url",
    "clients.contact_email",
    "tasks.client_id",
    "tasks.description",
    "tasks.assignee_id",
    "tasks.due_date",
    "tasks.handoff_id",
    "tasks.note",
}

SELF_EXPLAINING = {
    *("id", "name", "full_name", "avatar_url", "title", "status", "priority", "due_date"),
    *("created_at", "contact_email", "workspace_id", "user_id", "owner_id", "client_id"),
    "assignee_id",
}
"""Columns that need no comment."""

EXECUTE = {
    "agency.hand_off_task": {"service_role", "coordinator_daemon"},
    "agency.my_workspaces": {"authenticated"},
    "public.create_workspace": {"authenticated", "service_role"},
    "public.hand_off_task": {"service_role", "coordinator_daemon"},
}
"""Who may execute what, beside its owner; no other function of the half is anybody's."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def common_project(projects: Cluster) -> AsyncIterator[Database]:
    """A project in which nobody ever commits."""
    async with projects.database(template=Defaults.CLOSED, owner=OWNER) as database:
        yield database


@pytest.fixture
async def world(common_project: Database) -> AsyncIterator[World]:
    """A transaction that is rolled back in the end."""
    async with World.on(common_project) as world, world.savepoint():
        yield world


TRIES = [
    pytest.param(constraint, statement, id=f"{constraint} {n}")
    for constraint, statements in FORBIDDEN.items()
    for n, statement in enumerate(statements)
]


@pytest.mark.matrix
@pytest.mark.parametrize(("constraint", "statement"), TRIES)
async def test_a_constraint_refuses_what_its_name_says(
    world: World, constraint: str, statement: str
) -> None:
    await world.execute(ROWS)

    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
        await world.execute(statement)

    assert getattr(caught.value, "constraint_name", None) == constraint


@pytest.mark.parametrize(("constraint", "statement"), TRIES)
async def test_without_the_constraint_nothing_refuses(
    world: World, constraint: str, statement: str
) -> None:
    """The mutation of the test above: with the constraint removed, that test fails."""
    await world.execute(ROWS)
    await world.execute(await removal(world, constraint))

    assert await world.execute(statement)


async def removal(world: World, constraint: str) -> str:
    """The statement that removes a constraint, or a unique index without one."""
    table = await world.value(
        "select conrelid::regclass::text from pg_constraint"
        " where conname = $1 and conrelid = any ($2::text[]::regclass[])",
        constraint,
        list(TABLES),
    )
    if table is None:
        return f"drop index {constraint}"
    return f"alter table {table} drop constraint {constraint} cascade"


@pytest.mark.matrix
async def test_every_constraint_and_every_unique_index_is_tried(world: World) -> None:
    catalogued = await names(
        world,
        "select conname from pg_constraint"
        " where conrelid = any ($1::text[]::regclass[]) and contype in ('p', 'u', 'c', 'x', 'f')"
        " union select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid"
        " where indrelid = any ($1::text[]::regclass[]) and indisunique",
    )

    assert catalogued == FORBIDDEN.keys()


@pytest.mark.parametrize("statement", ALLOWED)
async def test_no_constraint_refuses_more_than_its_name_says(world: World, statement: str) -> None:
    await world.execute(ROWS)
    if "tasks" in statement:
        await world.execute(f"delete from tasks where id <> {ACME}")

    assert (await world.execute(statement)).startswith("UPDATE")
    await world.execute("set constraints all immediate")


# Columns ----------------------------------------------------------------------------------------


async def test_every_table_is_known(world: World) -> None:
    found = await names(
        world,
        "select format('%s.%s', n.nspname, c.relname) from pg_class c"
        " join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname in ('public', 'coordination', 'agency') and c.relkind in ('r', 'p')"
        " and $1::text[] is not null",
    )

    assert found == {*TABLES, *COORDINATION_TABLES}


@pytest.mark.matrix
@pytest.mark.parametrize("table", GIVEN)
async def test_the_given_columns_keep_their_names_and_types(world: World, table: str) -> None:
    rows = await world.rows(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute"
        " where attrelid = $1::text::regclass and attnum > 0 and not attisdropped",
        f"public.{table}",
    )

    assert dict(map(tuple, rows)).items() >= GIVEN[table].items()


@pytest.mark.parametrize(
    ("column", "target"),
    [
        ("users.id", "auth.users.id"),
        ("workspaces.owner_id", "users.id"),
        ("workspace_members.workspace_id", "workspaces.id"),
        ("workspace_members.user_id", "users.id"),
        ("clients.workspace_id", "workspaces.id"),
        ("tasks.workspace_id", "workspaces.id"),
        ("tasks.assignee_id", "users.id"),
    ],
)
async def test_a_given_column_refers_to_the_given_one(
    world: World, column: str, target: str
) -> None:
    referring = await names(
        world,
        "select format('%s.%s → %s.%s', c.conrelid::regclass, a.attname,"
        " c.confrelid::regclass, f.attname) from pg_constraint c"
        " join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]"
        " join pg_attribute f on f.attrelid = c.confrelid and f.attnum = c.confkey[1]"
        " where c.contype = 'f' and cardinality(c.conkey) = 1"
        " and c.conrelid = any ($1::text[]::regclass[])",
    )

    assert f"{column} → {target}" in referring


@pytest.mark.matrix
async def test_only_what_may_be_unknown_may_be_null(world: World) -> None:
    nullable = await names(
        world,
        "select format('%s.%s', attrelid::regclass, attname) from pg_attribute"
        " where attrelid = any ($1::text[]::regclass[])"
        " and attnum > 0 and not attisdropped and not attnotnull",
    )

    assert nullable == NULLABLE


# Indexes ----------------------------------------------------------------------------------------


FIRST_COLUMNS = (
    "select i.indrelid, (i.indkey::int2[])[0:{n} - 1] as columns from pg_index i"
    " where i.indisvalid and i.indisready and i.indpred is null"
)
"""The first n columns of each whole index."""

UNCOVERED_FOREIGN_KEYS = (
    "select c.conname from pg_constraint c"
    " where c.contype = 'f' and c.conrelid = any ($1::text[]::regclass[]) and not exists ("
    f" select from ({FIRST_COLUMNS.format(n='cardinality(c.conkey)')}) i"
    " where i.indrelid = c.conrelid and i.columns @> c.conkey and i.columns <@ c.conkey)"
)

NAMED_BY_POLICIES = (
    "select distinct d.refobjid, d.refobjsubid from pg_depend d"
    " join pg_policy p on d.classid = 'pg_policy'::regclass and d.objid = p.oid"
    " where d.refclassid = 'pg_class'::regclass and d.refobjsubid > 0"
    " and p.polrelid = any ($1::text[]::regclass[])"
)

COLUMN = "format('%s.%s', n.refobjid::regclass, a.attname)"


async def test_every_foreign_key_has_an_index(world: World) -> None:
    assert await names(world, UNCOVERED_FOREIGN_KEYS) == set()


@pytest.mark.parametrize(
    ("index", "keys"),
    [
        ("tasks_by_client", {"client_must_belong_to_the_workspace"}),
        ("tasks_by_assignee", {"assignee_must_be_a_member", "tasks_assignee_id_fkey"}),
        ("workspace_members_by_user", {"workspace_members_user_id_fkey"}),
        ("workspaces_by_owner", {"owner_must_be_a_member", "workspaces_owner_id_fkey"}),
    ],
)
async def test_a_foreign_key_whose_index_is_gone_is_found(
    world: World, index: str, keys: set[str]
) -> None:
    await world.execute(f"drop index {index}")

    assert await names(world, UNCOVERED_FOREIGN_KEYS) == keys


async def test_the_policies_name_the_columns_that_are_known(world: World) -> None:
    named = await names(
        world,
        f"select {COLUMN} from ({NAMED_BY_POLICIES}) n join pg_attribute a"
        " on a.attrelid = n.refobjid and a.attnum = n.refobjsubid",
    )

    assert named == {
        "users.id",
        "workspaces.id",
        "workspaces.owner_id",
        "workspace_members.workspace_id",
        "workspace_agents.workspace_id",
        "clients.workspace_id",
        "tasks.workspace_id",
    }


UNCOVERED_POLICY_COLUMNS = (
    f"select {COLUMN} from ({NAMED_BY_POLICIES}"
    # my_workspaces, which is behind most of them, looks for this one.
    " union all select 'workspace_members'::regclass, 2) n"
    " join pg_attribute a on a.attrelid = n.refobjid and a.attnum = n.refobjsubid"
    " where not exists ("
    f" select from ({FIRST_COLUMNS.format(n='1')}) i"
    " where i.indrelid = n.refobjid and i.columns = array[n.refobjsubid::int2])"
)


async def test_every_column_that_a_policy_names_leads_an_index(world: World) -> None:
    assert await names(world, UNCOVERED_POLICY_COLUMNS) == set()


async def test_a_policys_column_whose_index_is_gone_is_found(world: World) -> None:
    await world.execute("drop index workspaces_by_owner, workspace_members_by_user")

    assert await names(world, UNCOVERED_POLICY_COLUMNS) == {
        "workspaces.owner_id",
        "workspace_members.user_id",
    }


# Comments ---------------------------------------------------------------------------------------


async def test_every_table_has_a_comment(world: World) -> None:
    bare = await names(
        world,
        "select t from unnest($1::text[]) t"
        " where coalesce(obj_description(t::regclass, 'pg_class'), '') = ''",
    )

    assert bare == set()


async def test_every_column_that_does_not_explain_itself_has_a_comment(world: World) -> None:
    bare = await names(
        world,
        "select attname from pg_attribute where attrelid = any ($1::text[]::regclass[])"
        " and attnum > 0 and not attisdropped and col_description(attrelid, attnum) is null",
    )

    assert bare <= SELF_EXPLAINING


# Functions --------------------------------------------------------------------------------------

FUNCTIONS = (
    "select p.oid from pg_proc p where p.pronamespace::regnamespace::text = any"
    " ('{public,coordination,agency}')"
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def business_functions(projects: Cluster) -> dict[str, asyncpg.Record]:
    """What the business half adds to a project that has the coordination half."""
    async with (
        projects.database(template=f"bare_{Defaults.OPEN}", owner=OWNER) as database,
        database.connect(user=OWNER) as connection,
    ):
        await migrate(connection, migration_files(Half.COORDINATION))
        before = [row[0] for row in await connection.fetch(FUNCTIONS)]
        await migrate(connection, migration_files(Half.BUSINESS))
        rows = await connection.fetch(
            "select format('%s.%s', p.pronamespace::regnamespace, p.proname) as name,"
            " p.prosecdef, coalesce(p.proconfig, '{}') as settings,"
            " coalesce(obj_description(p.oid, 'pg_proc'), '') as comment,"
            " array(select case a.grantee when 0 then 'public' else a.grantee::regrole::text end"
            " from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a"
            " where a.grantee <> p.proowner) as executed_by"
            f" from pg_proc p where p.oid in ({FUNCTIONS}) and p.oid <> all ($1::oid[])",
            before,
        )
    return {row["name"]: row for row in rows}


async def test_the_business_half_brings_its_functions(
    business_functions: dict[str, asyncpg.Record],
) -> None:
    assert business_functions.keys() >= EXECUTE.keys() | {"agency.task_follows"}


async def test_every_function_has_a_comment(business_functions: dict[str, asyncpg.Record]) -> None:
    assert [name for name, function in business_functions.items() if not function["comment"]] == []


async def test_no_function_finds_names_by_its_callers_path(
    business_functions: dict[str, asyncpg.Record],
) -> None:
    fixed = "search_path=pg_catalog, pg_temp"

    assert [
        n for n, function in business_functions.items() if fixed not in function["settings"]
    ] == []


async def test_only_the_private_schema_lends_its_owners_rights(
    business_functions: dict[str, asyncpg.Record],
) -> None:
    lending = {name for name, function in business_functions.items() if function["prosecdef"]}

    assert "agency.my_workspaces" in lending
    assert {name for name in lending if not name.startswith("agency.")} == set()


async def test_a_function_is_executed_by_those_named_here_only(
    business_functions: dict[str, asyncpg.Record],
) -> None:
    """In a project that grants everything on new functions by itself."""
    executed_by = {
        name: set(function["executed_by"])
        for name, function in business_functions.items()
        if function["executed_by"]
    }

    assert executed_by == EXECUTE


async def test_a_trigger_function_is_nobodys_to_call(world: World) -> None:
    callable_by_others = await names(
        world,
        "select format('%s: %s', p.proname, r.rolname) from pg_proc p"
        " cross join (select rolname from pg_roles"
        "   where rolname in ('anon', 'authenticated', 'service_role', 'authenticator')) r"
        " where p.pronamespace = 'agency'::regnamespace and p.prorettype = 'trigger'::regtype"
        " and has_function_privilege(r.rolname, p.oid, 'execute') and $1::text[] is not null",
    )

    assert callable_by_others == set()


# The publication --------------------------------------------------------------------------------

PUBLISHED = (
    "select tablename from pg_publication_tables"
    " where pubname = 'supabase_realtime' and $1::text[] is not null"
)


@pytest.mark.matrix
async def test_browsers_hear_of_the_tables_meant_for_them(world: World) -> None:
    assert await names(world, PUBLISHED) == {"workspaces", "clients", "tasks"}


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("found", "published"),
    [
        ("drop publication supabase_realtime", set()),
        (
            "drop publication supabase_realtime;"
            " create publication supabase_realtime for all tables",
            {table.partition(".")[2] for table in TABLES},
        ),
        (
            "drop publication supabase_realtime;"
            " create publication supabase_realtime for tables in schema public;"
            f" alter publication supabase_realtime owner to {OWNER}",
            {table.partition(".")[2] for table in TABLES},
        ),
        (
            "create table public.theirs (id uuid primary key);"
            " alter publication supabase_realtime add table public.theirs",
            {"theirs", "workspaces", "clients", "tasks"},
        ),
    ],
    ids=["none", "for all tables", "for the schema", "with a table of theirs"],
)
async def test_the_migrations_take_the_publication_as_they_find_it(
    bare_project: Database, found: str, published: set[str]
) -> None:
    async with World.on(bare_project) as world:
        await world.execute(found)
        async with bare_project.connect(user=OWNER) as owner:
            await migrate_both(owner)

        heard = await names(world, PUBLISHED)
    assert heard - {table.partition(".")[2] for table in COORDINATION_TABLES} == published


async def names(world: World, query: str) -> set[str]:
    """The first column of a query that may be given the business tables."""
    return {row[0] for row in await world.rows(query, list(TABLES))}
