"""Who sees and writes what: every table and every function, every caller, written out by hand.

A line of MATRIX reads: this caller sees these rows; may add this one; an update of the whole
table changes these; a delete of the whole table takes these away. Then the proof that the
matrix would notice: every policy is removed and opened in turn, and a cell must turn red.
"""

from collections.abc import Iterable, Mapping, Sequence

import asyncpg
import pytest

from tests.integration.business.matrix import (
    BUSINESS,
    TABLES,
    Caller,
    Question,
    World,
    calls,
    cells,
)

MATRIX = """
table                 | caller       | select               | insert       | update               | delete

users                 | anon         | 42501                | 42501        | 42501                | 42501
users                 | member       | bob                  | 42501        | bob                  | 42501
users                 | owner        | ada                  | 42501        | ada                  | 42501
users                 | outsider     | olga                 | 42501        | olga                 | 42501
users                 | service_role | ada, bob, carl, olga | dora         | ada, bob, carl, olga | 23503

workspaces            | anon         | 42501                | 42501        | 42501                | 42501
workspaces            | member       | Acme                 | 42501        | nothing              | nothing
workspaces            | owner        | Acme                 | New          | Acme                 | Acme
workspaces            | outsider     | Orbit                | 42501        | Orbit                | Orbit
workspaces            | service_role | Acme, Orbit          | New          | Acme, Orbit          | Acme, Orbit

workspace_members     | anon         | 42501                | 42501        | 42501                | 42501
workspace_members     | member       | ada in Acme, bob in Acme | 42501    | 42501                | nothing
workspace_members     | owner        | ada in Acme, bob in Acme | olga in Acme | 42501            | bob in Acme
workspace_members     | outsider     | olga in Orbit        | 42501        | 42501                | nothing
workspace_members     | service_role | ada in Acme, bob in Acme, olga in Orbit | olga in Acme | bob in Acme | bob in Acme

workspace_agents      | anon         | 42501                | 42501        | 42501                | 42501
workspace_agents      | member       | codex in Acme        | 42501        | 42501                | 42501
workspace_agents      | owner        | codex in Acme        | 42501        | 42501                | 42501
workspace_agents      | outsider     | gemini in Orbit      | 42501        | 42501                | 42501
workspace_agents      | service_role | codex in Acme, gemini in Orbit | trae in Acme | codex in Acme, codex-x in Acme, gemini in Orbit, gemini-x in Orbit | codex in Acme, gemini in Orbit

clients               | anon         | 42501                | 42501        | 42501                | 42501
clients               | member       | Bolt                 | new client   | Bolt                 | Bolt
clients               | owner        | Bolt                 | new client   | Bolt                 | Bolt
clients               | outsider     | Nut                  | 42501        | Nut                  | Nut
clients               | service_role | Bolt, Nut            | new client   | Bolt, Nut            | Bolt, Nut

tasks                 | anon         | 42501                | 42501        | 42501                | 42501
tasks                 | member       | call, write          | new task     | call, write          | call, write
tasks                 | owner        | call, write          | new task     | call, write          | call, write
tasks                 | outsider     | spy                  | 42501        | spy                  | spy
tasks                 | service_role | call, spy, write     | new task     | call, spy, write     | call, spy, write

agent_status          | anon         | 42501                | 42501        | 42501                | 42501
agent_status          | member       | 42501                | 42501        | 42501                | 42501
agent_status          | owner        | 42501                | 42501        | 42501                | 42501
agent_status          | outsider     | 42501                | 42501        | 42501                | 42501
agent_status          | service_role | codex, gemini        | trae         | codex, gemini        | ZH005

handoffs              | anon         | 42501                | 42501        | 42501                | 42501
handoffs              | member       | 42501                | 42501        | 42501                | 42501
handoffs              | owner        | 42501                | 42501        | 42501                | 42501
handoffs              | outsider     | 42501                | 42501        | 42501                | 42501
handoffs              | service_role | chat, write          | new handoff  | write                | write

coordination_events   | anon         | 42501                | 42501        | 42501                | 42501
coordination_events   | member       | 42501                | 42501        | 42501                | 42501
coordination_events   | owner        | 42501                | 42501        | 42501                | 42501
coordination_events   | outsider     | 42501                | 42501        | 42501                | 42501
coordination_events   | service_role | agent.registered, handoff.cancelled, handoff.dispatched, handoff.queued | 42501 | 42501 | 42501

coordination_settings | anon         | 42501                | 42501        | 42501                | 42501
coordination_settings | member       | 42501                | 42501        | 42501                | 42501
coordination_settings | owner        | 42501                | 42501        | 42501                | 42501
coordination_settings | outsider     | 42501                | 42501        | 42501                | 42501
coordination_settings | service_role | the settings         | 42501        | 42501                | 42501
"""  # noqa: E501

CREATE_WORKSPACE = """
function         | call                                                                           | anon  | member | owner | outsider | service_role
create_workspace | select name from create_workspace('New', {bob}) where owner_id = {bob}          | 42501 | New    | 42501 | 42501    | New
create_workspace | select name from create_workspace('New', {ada}) where owner_id = {ada}          | 42501 | 42501  | New   | 42501    | New
create_workspace | select name from create_workspace('New', {olga}) where owner_id = {olga}        | 42501 | 42501  | 42501 | New      | New
create_workspace | select name from create_workspace('New', {carl}) where owner_id = {carl}        | 42501 | 42501  | 42501 | 42501    | New
create_workspace | select name from create_workspace('New', {Acme})                                | 42501 | 42501  | 42501 | 42501    | 23503
create_workspace | select name from create_workspace('New', null)                                  | 42501 | 42501  | 42501 | 42501    | 23502
"""  # noqa: E501

CLOSED_COLUMNS = """
table             | call                                                            | anon  | member | owner | outsider | service_role
users             | update public.users set role = 'admin'                          | 42501 | 42501  | 42501 | 42501    | None
workspaces        | update workspaces set owner_id = owner_id                       | 42501 | 42501  | 42501 | 42501    | None
workspace_members | update workspace_members set role = 'member'                    | 42501 | 42501  | 42501 | 42501    | None
workspace_agents  | update workspace_agents set workspace_id = workspace_id         | 42501 | 42501  | 42501 | 42501    | None
clients           | update clients set workspace_id = workspace_id                  | 42501 | 42501  | 42501 | 42501    | None
tasks             | update tasks set workspace_id = workspace_id                    | 42501 | 42501  | 42501 | 42501    | None
tasks             | update tasks set handoff_id = null                              | 42501 | 42501  | 42501 | 42501    | None
tasks             | update tasks set note = 'x'                                     | 42501 | 42501  | 42501 | 42501    | None
"""  # noqa: E501

FOR_THE_SERVICE_ROLE = """
function         | call                                                                     | service_role
accept_handoff   | select status from accept_handoff({given}, 1, 'codex')                   | in_progress
agent_channel    | select left(agent_channel('codex'), 3)                                   | to_
cancel_handoff   | {given}                                                                  | requested
check_wait       | select 'none' from check_wait('codex', 'gemini')                         | none
complete_handoff | {given}, 1, 'codex'                                                      | applied
fail_handoff     | {given}, 1, 'codex'                                                      | applied
get_agent_status | select status from get_agent_status('codex')                             | working
get_handoff      | select status from get_handoff({given})                                  | in_progress
hand_off         | select repeated from hand_off('ada', 'codex', 'new')                     | False
hand_off_many    | select repeated from hand_off_many('ada', '{{"to_agent": "codex", "task_description": "new"}}') | False
hand_off_task    | select warning is null from hand_off_task({call}, 'codex')               | True
heartbeat        | select status from heartbeat('codex')                                    | working
heartbeat_many   | select status from heartbeat_many(array['codex'])                        | working
held_handoff     | select status from held_handoff('codex')                                 | in_progress
leave            | select 'none' from leave('codex')                                        | none
register_agent   | select status from register_agent('trae')                                | idle
report_progress  | {given}, 1, 'codex'                                                      | False
retry_handoff    | select status from retry_handoff({ended})                                | pending
set_agent_status | select status from set_agent_status('gemini', 'blocked')                 | blocked
"""  # noqa: E501

SECOND_LINE = """
table      | whoever may write every column                                                | member | owner | outsider
users      | update public.users set id = {dora}                                           | 42501  | 42501 | 42501
workspaces | update workspaces set owner_id = {bob}                                        | None   | 42501 | 42501
clients    | update clients set workspace_id = {Orbit}                                     | 42501  | 42501 | None
tasks      | update tasks set workspace_id = {Orbit}, client_id = null, assignee_id = null | 42501  | 42501 | None
"""  # noqa: E501
"""Columns that nobody is granted: were they granted, the policies alone would hold the rows."""

MAY_WRITE: Mapping[tuple[str, str], set[str]] = {
    ("users", "UPDATE"): {"full_name", "avatar_url"},
    ("workspaces", "INSERT"): {"name", "slug", "owner_id"},
    ("workspaces", "UPDATE"): {"name", "slug"},
    ("workspace_members", "INSERT"): {"workspace_id", "user_id"},
    ("clients", "INSERT"): {"id", "workspace_id", "name", "contact_email", "status"},
    ("clients", "UPDATE"): {"name", "contact_email", "status"},
    ("tasks", "INSERT"): {
        *("id", "workspace_id", "client_id", "title", "description"),
        *("status", "assignee_id", "priority", "due_date"),
    },
    ("tasks", "UPDATE"): {
        *("client_id", "title", "description"),
        *("status", "assignee_id", "priority", "due_date"),
    },
}
"""The columns that somebody who is signed in may write; not named: none."""

CELLS = list(cells(MATRIX))
SIGNED_OUT_OR_IN = [caller for caller in Caller if caller is not Caller.SERVICE_ROLE]
UPDATES = list(calls(CLOSED_COLUMNS))
CALLS = [*calls(CREATE_WORKSPACE), *calls(FOR_THE_SERVICE_ROLE, SIGNED_OUT_OR_IN)]


# What everybody gets ----------------------------------------------------------------------------


@pytest.mark.matrix
@pytest.mark.parametrize("table", TABLES)
async def test_everybody_sees_and_changes_the_rows_that_the_matrix_says(
    world: World, table: str
) -> None:
    asked = [cell for cell in CELLS if cell.table == table]
    asked_of_columns = [update for update in UPDATES if update.function == table]

    assert [red async for red in world.red([*asked, *asked_of_columns])] == []


@pytest.mark.matrix
async def test_every_function_answers_or_refuses_as_the_matrix_says(world: World) -> None:
    assert [red async for red in world.red(CALLS)] == []


@pytest.mark.matrix
async def test_nobody_of_the_api_reaches_the_private_tables(world: World) -> None:
    tables = await world.connection.fetch(
        "select c.oid::regclass::text as name, a.attname as column"
        " from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum = 1"
        " where c.relnamespace in ('coordination'::regnamespace, 'agency'::regnamespace)"
        " and c.relkind in ('r', 'p', 'v', 'm', 'f')"
    )
    deeds = [
        deed.format(table=name, column=column)
        for name, column in tables
        for deed in (
            "select from {table}",
            "insert into {table} default values",
            "update {table} set {column} = {column}",
            "delete from {table}",
        )
    ]

    assert len(tables) >= 4
    assert await codes(world, Caller, deeds) == {"42501"}


@pytest.mark.matrix
async def test_of_the_private_functions_only_the_service_role_calls_only_one(world: World) -> None:
    [one], others = await private_calls(world)

    assert len(others) >= 40
    assert await codes(world, Caller, others) == {"42501"}
    assert await codes(world, SIGNED_OUT_OR_IN, [one]) == {"42501"}
    assert await codes(world, [Caller.SERVICE_ROLE], [one]) == {"ZH014"}


@pytest.mark.matrix
async def test_nobody_signed_in_or_out_touches_a_sequence(world: World) -> None:
    sequences = await world.connection.fetch(
        "select oid::regclass::text from pg_class where relkind = 'S'"
        " and relnamespace in (select oid from pg_namespace where nspname"
        " in ('public', 'coordination', 'agency'))"
    )
    deeds = [
        deed.format(sequence)
        for [sequence] in sequences
        # Nothing takes back what befalls a sequence: a value far ahead does no harm to other tests.
        for deed in ("select nextval('{}')", "select setval('{}', 1000000)", "table {}")
    ]

    assert len(sequences) >= 2
    assert await codes(world, SIGNED_OUT_OR_IN, deeds) == {"42501"}


@pytest.mark.matrix
async def test_whoever_is_signed_in_writes_the_columns_that_are_named_and_no_others(
    world: World,
) -> None:
    found = await world.connection.fetch(
        "select table_name, privilege_type, column_name from information_schema.column_privileges"
        " where table_schema = 'public' and grantee in ('authenticated', 'anon', 'PUBLIC')"
        " and privilege_type <> 'SELECT'"
    )

    granted: dict[tuple[str, str], set[str]] = {}
    for table, right, column in found:
        granted.setdefault((table, right), set()).add(column)
    assert granted == MAY_WRITE


# Nothing is forgotten ---------------------------------------------------------------------------


async def test_the_matrix_names_every_table_and_every_cell_of_it(world: World) -> None:
    tables = await world.connection.fetch(
        "select relname from pg_class where relnamespace = 'public'::regnamespace"
        " and relkind in ('r', 'p', 'v', 'm', 'f')"
    )

    assert {name for [name] in tables} == set(TABLES) == {cell.table for cell in CELLS}
    assert len(CELLS) == len({str(cell) for cell in CELLS}) == len(TABLES) * len(Caller) * 4


async def test_the_matrix_names_every_function(world: World) -> None:
    functions = await world.connection.fetch(
        "select proname from pg_proc where pronamespace = 'public'::regnamespace"
    )

    assert {name for [name] in functions} == {call.function for call in CALLS}
    for function in {call.function for call in CALLS}:
        assert {call.caller for call in CALLS if call.function == function} == set(Caller)


async def test_every_table_of_the_business_half_has_row_level_security(world: World) -> None:
    open_tables = await world.connection.fetch(
        "select relname from pg_class where relnamespace = 'public'::regnamespace"
        " and relkind = 'r' and not relrowsecurity"
    )

    # These two are closed by grants; nobody who may read them has rows of its own.
    assert {name for [name] in open_tables} == {"coordination_events", "coordination_settings"}


# The matrix would notice ------------------------------------------------------------------------


async def test_every_policy_is_missed_if_it_is_dropped(world: World) -> None:
    unnoticed = [
        f"{table}.{policy}"
        for table, policy, _, _ in await policies(world)
        if not await noticed(world, table, f"drop policy {policy} on {table}")
    ]

    assert unnoticed == []


async def test_every_condition_of_a_policy_is_missed_if_it_lets_all_by(world: World) -> None:
    mutations = [
        (table, f"alter policy {policy} on {table} {clause} (true)")
        for table, policy, using, check in await policies(world)
        for clause, given in (("using", using), ("with check", check))
        if given
    ]

    assert len(mutations) >= 22
    unnoticed = [
        mutation
        for table, mutation in mutations
        if not await noticed(world, table, mutation)
        and not await noticed_on_the_second_line(world, table, mutation)
    ]
    assert unnoticed == []


@pytest.mark.parametrize(
    "mutation",
    [
        "alter table {} disable row level security",
        "grant all on {} to authenticated",
        "grant all on {} to anon",
        "revoke all on {} from service_role",
        "revoke select on {} from authenticated",
    ],
)
async def test_an_opened_or_a_closed_table_is_noticed(world: World, mutation: str) -> None:
    unnoticed = [
        table
        for table in BUSINESS
        if not await noticed(world, table, mutation.format(f"public.{table}"))
    ]

    assert unnoticed == []


async def test_a_function_behind_the_policies_that_tells_too_much_is_noticed(world: World) -> None:
    everywhere = (
        "create or replace function agency.my_workspaces() returns setof uuid language sql"
        " stable security definer set search_path = '' as 'select id from public.workspaces'"
    )

    for table in ("workspaces", "workspace_members", "workspace_agents", "clients", "tasks"):
        assert await noticed(world, table, everywhere)


@pytest.mark.matrix
async def test_even_if_every_column_were_granted_no_row_would_leave_its_workspace(
    world: World,
) -> None:
    await grant_all(world)

    assert [red async for red in world.red(calls(SECOND_LINE))] == []


async def policies(world: World) -> Sequence[asyncpg.Record]:
    """Table, name, using and with check of each policy of the business half."""
    found = await world.connection.fetch(
        "select 'public.' || tablename, policyname, qual, with_check from pg_policies"
        " where schemaname = 'public' and tablename = any ($1)",
        BUSINESS,
    )
    assert len(found) >= 18
    return found


async def noticed(world: World, table: str, mutation: str) -> bool:
    """Whether any cell turns red; those of the table itself are asked first."""
    name = table.removeprefix("public.")
    asked = sorted(CELLS, key=lambda cell: cell.table != name)
    business = [cell for cell in asked if cell.table in BUSINESS]
    return await turns_red(world, mutation, [*business, *UPDATES, *calls(CREATE_WORKSPACE)])


async def noticed_on_the_second_line(world: World, table: str, mutation: str) -> bool:
    async with world.savepoint():
        await grant_all(world)
        return await turns_red(world, mutation, calls(SECOND_LINE))


async def turns_red(world: World, mutation: str, questions: Iterable[Question]) -> bool:
    async with world.savepoint():
        await world.connection.execute(mutation)
        async for _ in world.red(questions):
            return True
    return False


async def grant_all(world: World) -> None:
    await world.connection.execute("grant all on all tables in schema public to authenticated")


async def codes(world: World, callers: Iterable[Caller], deeds: Iterable[str]) -> set[str]:
    """The SQLSTATEs with which these callers' deeds are refused, and the deeds that are not."""
    found = set()
    deeds = list(deeds)
    for caller in callers:
        for deed in deeds:
            async with world.savepoint():
                try:
                    async with world.acting(caller) as connection:
                        await connection.execute(deed)
                    found.add(f"{caller}: {deed}")
                except asyncpg.PostgresError as error:
                    found.add(str(error.sqlstate))
    return found


async def private_calls(world: World) -> tuple[list[str], list[str]]:
    """A call without values of agency.hand_off_task, and one of every other private function."""
    functions = await world.connection.fetch(
        "select p.oid::regproc::text as name, (select coalesce(string_agg("
        "   format('null::%s', t.type::regtype), ', ' order by t.nth), '')"
        "   from unnest(p.proargtypes) with ordinality as t (type, nth)) as arguments"
        " from pg_proc p"
        " where p.pronamespace in ('coordination'::regnamespace, 'agency'::regnamespace)"
    )
    made = {name: f"select {name}({arguments})" for name, arguments in functions}
    assert len(made) == len(functions)
    return [made.pop("agency.hand_off_task")], list(made.values())
