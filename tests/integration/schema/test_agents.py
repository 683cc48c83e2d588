"""Agents' rows: registration, heartbeats, clocks, going away, and what truncation leaves."""

from datetime import timedelta
from uuid import uuid4

import pytest

from tests.integration.schema.world import Life, World
from tests.support.postgres import Database

PLAIN = "coordinator_plain_agent"
SILENT = timedelta(seconds=46)


async def test_an_agent_registers_and_is_idle(world: World) -> None:
    ada = Life("ada", uuid4())

    row = await world.register(ada, roles=["reviewer"])

    assert (row["status"], row["incarnation"], row["roles"]) == (
        "idle",
        ada.incarnation,
        ["reviewer"],
    )
    assert await world.agent_events() == ["agent.registered"]


async def test_registering_again_replaces_what_it_says_of_itself(world: World) -> None:
    ada = await world.agent("ada", roles=["reviewer"])

    row = await world.register(ada, roles=["tester"])

    assert row["roles"] == ["tester"]


async def test_a_plain_agent_inserts_its_row(world: World) -> None:
    async with world.role(PLAIN):
        await world.execute("insert into agent_status (agent_name) values ('pia')")

    assert await world.shows("pia") == ("idle", None)
    assert (await world.the_agent("pia"))["incarnation"] is None


async def test_an_agent_exists_once(world: World) -> None:
    await world.agent("ada")

    async with world.refused("23505"):
        await world.execute("insert into agent_status (agent_name) values ('ada')")


async def test_get_agent_status_answers_with_the_row_or_none(world: World) -> None:
    await world.agent("ada")

    rows = await world.rows(
        "select agent_name from get_agent_status('ada') union all"
        " select agent_name from get_agent_status('nobody')"
    )

    assert [row[0] for row in rows] == ["ada"]


# --- heartbeats -------------------------------------------------------------------------------


async def test_a_heartbeat_tells_what_the_agent_holds(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)

    answer = await world.heartbeat(ada)

    assert (answer["status"], answer["held_handoff"], answer["held_attempt"]) == (
        "working",
        handoff,
        1,
    )


async def test_a_heartbeat_tells_to_stop_what_no_longer_stands(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)
    assert not (await world.heartbeat(ada, handoff, 1))["should_stop"]
    await world.cancel(handoff)

    assert (await world.heartbeat(ada, handoff, 1))["should_stop"]


async def test_a_heartbeat_renews_last_seen(world: World) -> None:
    ada = await world.agent(last_seen_ago=SILENT)

    await world.heartbeat(ada)

    assert (await world.the_agent())["last_seen"] == await world.value("select now()")


async def test_many_agents_of_one_process_beat_at_once(world: World) -> None:
    ada = await world.agent("ada")
    await world.register(Life("bob", ada.incarnation))
    await world.agent("cyd", last_seen_ago=SILENT)
    handoff = await world.held(ada, accepted=True)
    await world.cancel(handoff)

    rows = await world.rows(
        "select * from heartbeat_many($1, $2) order by agent_name",
        ["cyd", "bob", "ada", "nobody"],
        ada.incarnation,
    )

    assert [row["agent_name"] for row in rows] == ["ada", "bob"]
    assert (rows[0]["handoff_id"], rows[0]["accepted"], rows[0]["cancel_requested"]) == (
        handoff,
        True,
        True,
    )
    assert rows[1]["handoff_id"] is None
    assert (await world.the_agent("cyd"))["last_seen"] < await world.value("select now()")


@pytest.mark.parametrize("way", ["insert", "update"])
async def test_a_last_seen_in_the_future_becomes_now(world: World, way: str) -> None:
    async with world.role(PLAIN):
        if way == "insert":
            await world.execute(
                "insert into agent_status (agent_name, last_seen)"
                " values ('ada', now() + interval '1 day')"
            )
        else:
            await world.execute("insert into agent_status (agent_name) values ('ada')")
            await world.execute("update agent_status set last_seen = now() + interval '1 day'")

    assert (await world.the_agent())["last_seen"] == await world.value("select now()")


async def test_only_last_seen_is_a_heartbeat(world: World) -> None:
    await world.agent(plain=True, last_seen_ago=SILENT)
    before = (await world.the_agent())["last_seen"]

    async with world.role(PLAIN):
        await world.execute(
            "update agent_status set current_task = 'x', metadata = '{\"host\": \"h\"}'"
        )

    assert (await world.the_agent())["last_seen"] == before


async def test_an_agent_that_is_heard_in_time_is_not_stale(world: World) -> None:
    await world.agent(last_seen_ago=timedelta(seconds=44))

    assert await world.sweep("block_stale_agents") == 0


async def test_heartbeats_write_no_event(world: World) -> None:
    ada = await world.agent()
    told = await world.value("select count(*) from coordination_events")

    await world.heartbeat(ada)
    await world.rows("select * from heartbeat_many('{ada}', $1)", ada.incarnation)

    assert await world.value("select count(*) from coordination_events") == told


async def test_heartbeats_stay_hot_updates(committed: World) -> None:
    ada = await committed.agent("ada", roles=["reviewer"])
    beats = 50
    for _ in range(beats):
        await committed.heartbeat(ada)
    await committed.execute("update agent_status set last_seen = now() where agent_name = 'ada'")

    await committed.execute("select pg_stat_force_next_flush()")
    [row] = await committed.rows(
        "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'agent_status'"
    )
    assert row["n_tup_upd"] > beats
    assert row["n_tup_hot_upd"] == row["n_tup_upd"]


async def test_no_index_contains_last_seen(world: World) -> None:
    indexes = await world.rows(
        "select pg_get_indexdef(indexrelid) from pg_index where indrelid = 'agent_status'::regclass"
    )

    assert [row[0] for row in indexes if "last_seen" in row[0]] == []


# --- going away -------------------------------------------------------------------------------


async def test_leaving_gives_the_work_back(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada, accepted=True)

    await world.execute("select leave('ada', $1)", ada.incarnation)

    assert await world.shows() == ("blocked", "left")
    assert await world.state(handoff) == ("pending", None)
    assert (await world.the(handoff))["end_reason"] == "left"
    assert "agent.left" in await world.agent_events()


async def test_who_has_left_gets_no_work(world: World) -> None:
    ada = await world.agent()
    await world.execute("select leave('ada', $1)", ada.incarnation)
    await world.handoff("ada")

    assert await world.dispatch("ada") == (0, False)


@pytest.mark.parametrize(
    "change",
    [
        "status = 'idle'",
        "status = 'working'",
        "blocked_reason = 'lunch'",
        "blocked_reason = 'stale'",
        "status = 'idle', blocked_reason = null",
    ],
)
async def test_left_is_not_lifted_by_plain_sql(world: World, change: str) -> None:
    pia = await world.agent("pia", plain=True)
    await world.execute("select leave('pia')")

    async with world.refused("ZH011", PLAIN):
        await world.execute(f"update agent_status set {change}")
    assert await world.shows(pia.name) == ("blocked", "left")


async def test_an_agent_that_holds_work_is_not_deleted(world: World) -> None:
    ada = await world.agent()
    await world.held(ada)

    async with world.refused("ZH005"):
        await world.execute("delete from agent_status")


async def test_an_agent_that_holds_nothing_may_be_deleted_and_leaves_an_event(
    world: World,
) -> None:
    await world.agent()

    await world.execute("delete from agent_status")

    assert (await world.agent_events())[-1] == "agent.deleted"


async def test_deleting_a_held_handoff_frees_its_agent_and_leaves_an_event(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)

    await world.execute("delete from handoffs where id = $1", handoff)

    assert await world.shows() == ("idle", None)
    assert (await world.the_agent())["current_handoff"] is None
    assert (await world.events(handoff))[-1] == "handoff.deleted"


async def test_truncating_the_queue_frees_every_agent_and_leaves_an_event(world: World) -> None:
    ada = await world.agent("ada")
    await world.held(ada)
    bob = await world.agent("bob")
    await world.held(bob)
    await world.say(bob, "blocked", "lunch")

    await world.execute("truncate handoffs")

    assert await world.shows("ada") == ("idle", None)
    assert await world.shows("bob") == ("blocked", "lunch")
    assert (
        await world.value("select count(*) from agent_status where current_handoff is not null")
        == 0
    )
    assert (
        await world.value("select event from coordination_events order by sequence desc limit 1")
        == "handoff.deleted"
    )


@pytest.mark.parametrize("tables", ["agent_status", "agent_status, handoffs"])
async def test_agents_that_hold_work_are_not_truncated_away(world: World, tables: str) -> None:
    await world.held(await world.agent())

    async with world.refused("ZH005"):
        await world.execute(f"truncate {tables}")


async def test_agents_that_hold_nothing_may_be_truncated(world: World) -> None:
    await world.agent()

    await world.execute("truncate agent_status")

    assert await world.value("select count(*) from agent_status") == 0


# --- the row's own limits ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("status", "'asleep'"),
        ("metadata", "'[]'"),
        ("roles", "array['a', null]"),
    ],
)
async def test_a_bad_value_of_an_agent_is_refused(world: World, column: str, value: str) -> None:
    await world.agent(plain=True)

    async with world.refused("23514", PLAIN):
        await world.execute(f"update agent_status set {column} = {value}")


@pytest.mark.parametrize("reason", ["", "x" * 501])
async def test_a_reason_is_1_to_500_characters(world: World, reason: str) -> None:
    await world.agent(plain=True)

    async with world.refused("23514", PLAIN):
        await world.execute(
            "update agent_status set status = 'blocked', blocked_reason = $1", reason
        )


async def test_an_agent_holds_one_handoff_whatever_the_daemon_writes(world: World) -> None:
    ada = await world.agent()
    first = await world.held(ada)
    second = await world.handoff("ada")

    async with world.refused("23505", "coordinator_daemon"):
        await world.execute(
            "update handoffs set status = 'in_progress', attempt = 1, assigned_agent = 'ada',"
            " dispatched_at = now() where id = $1",
            second,
        )
    assert (await world.the_agent())["current_handoff"] == first


async def test_registering_at_the_same_time_leaves_one_life(
    committed: World, database: Database
) -> None:
    lives = [Life("ada", uuid4()), Life("ada", uuid4())]
    async with World.on(database) as other:
        async with committed.connection.transaction():
            await committed.register(lives[0])
            second = other.later(other.register(lives[1]))
            await committed.wait_until_blocked(other)

        assert (await second)["incarnation"] == lives[1].incarnation

    assert await committed.agent_events() == ["agent.registered", "agent.replaced"]
