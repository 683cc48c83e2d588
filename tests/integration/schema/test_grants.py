"""What each of the three roles may and may not do; everything else is closed."""

from uuid import uuid4

import pytest

from coordinator.store.queries import names
from tests.integration.schema.mutation import statement
from tests.integration.schema.world import World
from tests.support.postgres import Database

AGENT = "coordinator_agent"
PLAIN = "coordinator_plain_agent"
DAEMON = "coordinator_daemon"

TABLES = [
    "public.handoffs",
    "public.agent_status",
    "public.coordination_events",
    "public.coordination_settings",
    "coordination.leadership",
    "coordination.tail_cursor",
    "coordination.migrations",
]

AGENT_FUNCTIONS = {
    "accept_handoff",
    "agent_channel",
    "cancel_handoff",
    "check_wait",
    "complete_handoff",
    "fail_handoff",
    "get_agent_status",
    "get_handoff",
    "hand_off",
    "hand_off_many",
    "heartbeat",
    "heartbeat_many",
    "held_handoff",
    "leave",
    "register_agent",
    "report_progress",
    "set_agent_status",
}

PLAIN_COLUMNS = {
    ("agent_status", "insert"): {
        *("agent_name", "status", "current_task", "last_seen", "metadata"),
        *("blocked_reason", "roles"),
    },
    ("agent_status", "update"): {
        *("status", "current_task", "last_seen", "metadata", "blocked_reason", "roles"),
    },
    ("handoffs", "insert"): {
        *("id", "from_agent", "to_agent", "task_description", "status", "context", "priority"),
        *("available_at", "deadline_at", "timeout", "max_attempts", "idempotency_key"),
        *("parent_id", "traceparent"),
    },
    ("handoffs", "update"): {"status", "outcome", "result", "last_error"},
}


async def executable(world: World, role: str, schema: str) -> set[str]:
    """The functions of a schema that a role may call."""
    rows = await world.rows(
        "select p.proname from pg_proc p"
        " where p.pronamespace = $2::regnamespace and has_function_privilege($1, p.oid, 'execute')",
        role,
        schema,
    )
    return {row[0] for row in rows}


async def test_an_agent_by_functions_may_call_the_functions_and_nothing_else(
    world: World,
) -> None:
    assert await executable(world, AGENT, "public") == AGENT_FUNCTIONS
    assert await executable(world, AGENT, "coordination") == set()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("right", ["select", "insert", "update", "delete", "truncate"])
async def test_an_agent_by_functions_has_no_right_on_any_table(
    world: World, table: str, right: str
) -> None:
    assert not await world.value(
        "select has_any_column_privilege($1, $2, $3)"
        if right in {"select", "insert", "update"}
        else "select has_table_privilege($1, $2, $3)",
        AGENT,
        table,
        right,
    )


async def test_a_plain_agent_may_call_agent_channel_and_nothing_else(world: World) -> None:
    assert await executable(world, PLAIN, "public") == {"agent_channel"}
    assert await executable(world, PLAIN, "coordination") == set()


@pytest.mark.parametrize(("table", "right"), PLAIN_COLUMNS)
async def test_a_plain_agent_writes_its_columns_and_no_others(
    world: World, table: str, right: str
) -> None:
    rows = await world.rows(
        "select attname from pg_attribute where attrelid = $2::regclass and attnum > 0"
        " and not attisdropped and has_column_privilege($1, attrelid, attnum, $3)",
        PLAIN,
        table,
        right,
    )

    assert {row[0] for row in rows} == PLAIN_COLUMNS[table, right]


@pytest.mark.parametrize("table", TABLES)
async def test_a_plain_agent_reads_the_two_tables_only(world: World, table: str) -> None:
    readable = table in {"public.handoffs", "public.agent_status"}

    assert (
        await world.value("select has_any_column_privilege($1, $2, 'select')", PLAIN, table)
        is readable
    )


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("right", ["delete", "truncate", "trigger", "references"])
async def test_a_plain_agent_removes_nothing(world: World, table: str, right: str) -> None:
    assert not await world.value("select has_table_privilege($1, $2, $3)", PLAIN, table, right)


@pytest.mark.parametrize("right", ["insert", "update", "delete", "truncate"])
@pytest.mark.parametrize("role", [DAEMON, AGENT, PLAIN])
async def test_nobody_writes_the_events_but_the_triggers(
    world: World, role: str, right: str
) -> None:
    assert not await world.value(
        "select has_table_privilege($1, 'coordination_events', $2)", role, right
    )


@pytest.mark.parametrize("table", TABLES)
async def test_the_public_has_no_right_on_any_table(world: World, table: str) -> None:
    rows = await world.rows(
        "select a.privilege_type from pg_class c, aclexplode(c.relacl) a"
        " where c.oid = $1::regclass and a.grantee = 0",
        table,
    )

    assert rows == []


async def test_the_public_may_call_none_of_the_functions(world: World) -> None:
    rows = await world.rows(
        "select p.proname from pg_proc p left join lateral aclexplode(p.proacl) a on true"
        " where p.pronamespace in ('public'::regnamespace, 'coordination'::regnamespace)"
        " and (p.proacl is null or a.grantee = 0)"
    )

    assert [row[0] for row in rows] == []


async def test_each_role_reaches_the_schema_without_the_publics_help(world: World) -> None:
    await world.execute("revoke usage on schema public from public")

    assert [
        await world.value("select has_schema_privilege($1, 'public', 'usage')", role)
        for role in (DAEMON, AGENT, PLAIN)
    ] == [True] * 3


@pytest.mark.parametrize("name", [name for name in names() if not name.startswith("migration_")])
async def test_the_daemon_may_run_every_statement(world: World, name: str) -> None:
    async with world.role(DAEMON):
        prepared = await world.connection.prepare(statement(name).text)
        nothing = ", ".join("null" for _ in prepared.get_parameters())
        await world.execute(f"prepare it as {statement(name).text}")
        # The rights on tables are looked at when the statement is about to run.
        await world.execute(f"explain execute it{f'({nothing})' if nothing else ''}")


async def test_the_daemon_may_run_a_whole_life(world: World) -> None:
    ada = await world.agent()

    async with world.role(DAEMON):
        handoff = await world.held(ada, accepted=True)
        await world.age_heartbeat("ada", await world.value("select interval '1 hour'"))
        await world.sweep("block_stale_agents")
        await world.sweep("take_back_lapsed")
        await world.register(ada)
        await world.dispatch("ada")
        await world.complete(handoff, 2, ada)
        await world.retry(handoff)

    assert await world.state(handoff) == ("pending", None)


async def test_an_agent_by_functions_may_live_a_whole_life(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)

    async with world.role(AGENT):
        await world.register(ada)
        await world.heartbeat(ada, handoff, 1)
        await world.accept(handoff, 1, ada)
        await world.rows("select * from held_handoff('ada', $1)", ada.incarnation)
        await world.rows("select * from get_handoff($1)", handoff)
        await world.execute("select report_progress($1, 1, 'ada', $2)", handoff, ada.incarnation)
        await world.rows("select * from hand_off('ada', 'bob', 'x', parent_id => $1)", handoff)
        await world.complete(handoff, 1, ada)
        await world.say(ada, "blocked", "lunch")
        await world.execute("select leave('ada', $1)", ada.incarnation)

    assert await world.state(handoff) == ("completed", "succeeded")


async def test_a_plain_agent_may_live_a_whole_life(world: World) -> None:
    async with world.role(PLAIN):
        await world.execute("insert into agent_status (agent_name) values ('pia')")
        handoff = await world.handoff("pia", from_agent="pia", context={"file": "a"})
    await world.dispatch("pia")

    async with world.role(PLAIN):
        await world.execute("update agent_status set last_seen = now() where agent_name = 'pia'")
        await world.execute("update handoffs set status = 'completed' where id = $1", handoff)
        await world.execute("update agent_status set status = 'idle' where agent_name = 'pia'")

    assert await world.state(handoff) == ("completed", "succeeded")


@pytest.mark.parametrize("role", [AGENT, PLAIN])
async def test_agents_may_not_retry_by_themselves(world: World, role: str) -> None:
    handoff = await world.handoff("ada")
    await world.cancel(handoff)

    async with world.refused("42501", role):
        await world.retry(handoff)


async def test_every_security_definer_names_the_temporary_schema_last(world: World) -> None:
    rows = await world.rows(
        "select p.proname from pg_proc p"
        " where p.pronamespace in ('public'::regnamespace, 'coordination'::regnamespace)"
        " and p.prosecdef"
        " and p.proconfig @> '{\"search_path=pg_catalog, pg_temp\"}' is distinct from true"
    )

    assert [row[0] for row in rows] == []


async def test_a_strangers_types_do_not_run_with_the_owners_rights(
    committed: World, database: Database
) -> None:
    stranger = f"stranger_{uuid4().hex}"
    await committed.execute(f"create role {stranger} login in role {PLAIN}")
    async with database.connect(user=stranger) as connection:
        heard: list[str] = []
        connection.add_log_listener(lambda _, message: heard.append(str(message)))
        await connection.execute(
            "create function pg_temp.steal(pg_catalog.text) returns boolean language plpgsql as"
            " $$ begin raise notice '%', current_user; return true; end $$;"
            "create domain pg_temp.uuid as pg_catalog.uuid"
            " check (pg_temp.steal(value::pg_catalog.text));"
            "create domain pg_temp.text as pg_catalog.text check (pg_temp.steal(value));"
            "create domain pg_temp.jsonb as pg_catalog.jsonb"
            " check (pg_temp.steal(value::pg_catalog.text));"
            "insert into public.agent_status (agent_name) values ('ada');"
            "insert into public.handoffs (from_agent, to_agent, task_description)"
            " values ('eve', 'ada', 'do it')"
        )
        await committed.execute(f"drop owned by {stranger}; drop role {stranger}")

    assert heard == []


async def test_the_migrations_create_their_roles_without_login(world: World) -> None:
    rows = await world.rows(
        "select rolname from pg_roles where rolname like 'coordinator\\_%' and not rolcanlogin"
        " and not rolsuper and not rolbypassrls and not rolcreaterole and not rolcreatedb"
        " order by rolname"
    )

    assert [row[0] for row in rows] == [AGENT, DAEMON, PLAIN]
