"""Each role does its work with its own rights alone; test_privileges.py says what it cannot do."""

from uuid import uuid4

import pytest

from coordinator.store.queries import names
from tests.integration.schema.mutation import statement
from tests.integration.schema.test_privileges import AGENT, BOUND, DAEMON, PLAIN
from tests.integration.schema.test_statements import ELSEWHERE
from tests.integration.schema.world import World
from tests.support.postgres import Database


@pytest.mark.parametrize("name", [name for name in names() if not name.startswith(ELSEWHERE)])
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

    assert [row[0] for row in rows] == [AGENT, BOUND, DAEMON, PLAIN]
