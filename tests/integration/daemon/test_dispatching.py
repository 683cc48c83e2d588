"""Work meets its agent at once; and within one safety poll whatever was lost or locked."""

import json
from datetime import timedelta

import anyio
import pytest

from tests.integration.daemon.daemons import leader
from tests.integration.daemon.listening import heard_by
from tests.integration.schema.world import World
from tests.support.postgres import Database
from tests.support.waiting import eventually

AT_ONCE = timedelta(seconds=1)
SAFETY_POLL = timedelta(seconds=2)
ONE_POLL = SAFETY_POLL + timedelta(seconds=1)


async def test_a_new_handoff_is_pushed_to_its_idle_agent(database: Database, world: World) -> None:
    await world.agent("ada")
    async with leader(database), heard_by(world, "ada") as pushes:
        handoff_id = await world.handoff("ada")

        with anyio.fail_after(AT_ONCE.total_seconds()):
            push = await pushes.__anext__()

    assert push == {"event": "dispatched", "handoff_id": str(handoff_id), "attempt": 1}


async def test_waiting_work_is_given_as_soon_as_its_agent_is_free(
    database: Database, world: World
) -> None:
    ada = await world.agent("ada")
    async with leader(database) as process:
        first, second = await world.handoff("ada"), await world.handoff("ada")
        await process.seen("handoff.dispatched", handoff_id=str(first))

        await world.complete(first, 1, ada)

        await process.seen("handoff.dispatched", within=AT_ONCE, handoff_id=str(second))


async def test_work_for_an_unknown_address_waits_until_an_agent_of_it_registers(
    database: Database, world: World
) -> None:
    async with leader(database) as process:
        handoff_id = await world.handoff("reviewer")
        await process.seen("handoff.queued")

        await world.agent("ada", roles=["reviewer"])

        await process.seen("handoff.dispatched", within=AT_ONCE, handoff_id=str(handoff_id))


async def test_work_that_was_there_before_the_daemon_is_dispatched_before_it_is_ready(
    database: Database, world: World
) -> None:
    await world.agent("ada")
    handoff_id = await world.handoff("ada")

    async with leader(database):
        state = await world.state(handoff_id)

    assert state == ("in_progress", None)


async def test_a_delayed_handoff_is_dispatched_at_its_time(
    database: Database, world: World
) -> None:
    await world.agent("ada")
    async with leader(database) as process:
        await world.execute(
            "insert into handoffs (from_agent, to_agent, task_description, available_at)"
            " values ('eve', 'ada', 'do it', now() + interval '700 ms')"
        )
        line = await process.seen("handoff.dispatched", within=timedelta(seconds=3))

    assert 0 <= line["waited_s"] < 0.2


async def test_a_failed_attempt_is_dispatched_again_after_its_pause(
    database: Database, world: World
) -> None:
    ada = await world.agent("ada")
    async with leader(database) as process:
        handoff_id = await world.handoff("ada")
        await process.seen("handoff.dispatched", attempt=1)

        await world.fail(handoff_id, 1, ada, retry_in=timedelta(milliseconds=300))

        line = await process.seen("handoff.dispatched", within=timedelta(seconds=3), attempt=2)
    assert 0 <= line["waited_s"] < 0.2


async def test_a_later_handoff_does_not_wait_for_an_earlier_one_that_is_delayed(
    database: Database, world: World
) -> None:
    await world.agent("ada")
    async with leader(database) as process:
        await world.execute(
            "insert into handoffs (from_agent, to_agent, task_description, available_at)"
            " values ('eve', 'ada', 'do it', now() + interval '1 hour')"
        )
        handoff_id = await world.handoff("ada")

        await process.seen("handoff.dispatched", within=AT_ONCE, handoff_id=str(handoff_id))


async def test_many_delayed_handoffs_of_one_moment_are_all_dispatched(
    database: Database, world: World
) -> None:
    await world.execute(
        "select from generate_series(1, 50) n,"
        " register_agent('agent-' || n, gen_random_uuid(), '{reviewer}')"
    )
    async with leader(database, dispatch_batch="8") as process:
        await world.execute(
            "insert into handoffs (from_agent, to_agent, task_description, available_at)"
            " select 'eve', 'reviewer', 'do it', now() + interval '300 ms'"
            " from generate_series(1, 50)"
        )

        await process.seen("handoff.dispatched", count=50, within=timedelta(seconds=3))


# --- whatever was lost ----------------------------------------------------------------------------


async def test_a_row_inserted_without_triggers_waits_for_one_safety_poll_at_most(
    database: Database, world: World
) -> None:
    await world.agent("ada")
    async with leader(database, safety_poll="2s") as process, World.on(database) as silent:
        await silent.execute("set session_replication_role = replica")
        handoff_id = await silent.value(
            "insert into handoffs (id, root_id, from_agent, to_agent, task_description)"
            " select id, id, 'eve', 'ada', 'do it' from gen_random_uuid() id returning id"
        )

        await process.seen("handoff.dispatched", within=ONE_POLL, handoff_id=str(handoff_id))


async def test_an_agent_freed_without_a_notification_waits_for_one_safety_poll_at_most(
    database: Database, world: World
) -> None:
    ada = await world.agent("ada")
    await world.say(ada, "blocked", "lunch")
    async with leader(database, safety_poll="2s") as process, World.on(database) as silent:
        handoff_id = await world.handoff("ada")
        await process.seen("handoff.queued")
        await silent.execute("set session_replication_role = replica")

        await silent.execute("update agent_status set status = 'idle', blocked_reason = null")

        await process.seen("handoff.dispatched", within=ONE_POLL, handoff_id=str(handoff_id))


async def test_a_heartbeat_that_ends_a_long_silence_brings_work_within_one_safety_poll(
    database: Database, world: World
) -> None:
    ada = await world.agent("ada", last_seen_ago=timedelta(minutes=1))
    async with leader(database, safety_poll="2s") as process:
        handoff_id = await world.handoff("ada")
        await process.seen("handoff.queued")

        await world.heartbeat(ada)

        await process.seen("handoff.dispatched", within=ONE_POLL, handoff_id=str(handoff_id))


async def test_what_was_notified_while_the_listener_was_gone_is_found(
    database: Database, world: World
) -> None:
    await world.agent("ada")
    async with leader(database, safety_poll="1h") as process:
        await end_backend(world, "coordinator listener")
        handoff_id = await world.handoff("ada")

        await process.seen(
            "handoff.dispatched", within=timedelta(seconds=3), handoff_id=str(handoff_id)
        )


@pytest.mark.parametrize("purpose", ["listener", "dispatch", "sweep", "tail"])
async def test_a_daemon_that_lost_any_of_its_connections_goes_on(
    database: Database, world: World, purpose: str
) -> None:
    await world.agent("ada")
    async with leader(database) as process:
        await end_backend(world, f"coordinator {purpose}")

        handoff_id = await world.handoff("ada")

        await process.seen(
            "handoff.dispatched", within=timedelta(seconds=3), handoff_id=str(handoff_id)
        )
        await process.seen("store.restored", within=timedelta(seconds=4))


# --- whatever is locked ---------------------------------------------------------------------------


async def test_a_locked_agent_gets_its_work_soon_after_it_is_let_go(
    database: Database, world: World
) -> None:
    await world.agent("ada")
    async with leader(database, safety_poll="1h") as process, World.on(database) as stranger:
        async with stranger.connection.transaction():
            await stranger.execute("select from agent_status where agent_name = 'ada' for update")
            handoff_id = await world.handoff("ada")
            await process.seen("handoff.queued")

        await process.seen(
            "handoff.dispatched", within=timedelta(seconds=2), handoff_id=str(handoff_id)
        )


async def test_a_locked_agent_does_not_keep_others_from_work(
    database: Database, world: World
) -> None:
    for name in ("ada", "bob"):
        await world.agent(name)
    async with (
        leader(database) as process,
        World.on(database) as stranger,
        stranger.connection.transaction(),
    ):
        await stranger.execute("select from agent_status where agent_name = 'ada' for update")
        await world.handoff("ada")
        handoff_id = await world.handoff("bob")

        await process.seen("handoff.dispatched", within=AT_ONCE, handoff_id=str(handoff_id))


async def test_a_locked_delayed_handoff_does_not_make_the_daemon_spin(
    database: Database, world: World
) -> None:
    await world.execute(
        "insert into handoffs (from_agent, to_agent, task_description, available_at)"
        " values ('eve', 'nobody', 'do it', now() + interval '300 ms')"
    )
    async with World.on(database) as stranger, stranger.connection.transaction():
        await stranger.execute("select from handoffs for update")
        await world.value("select pg_sleep_for('400 ms')")
        async with leader(database, log_level="debug") as process:
            await process.seen("pass.completed", pass_name="sweep", count=3)

            # Among them the reads of a reign that begins owing: whoever locks could be silent.
            assert len(process.logged("pass.completed", pass_name="dispatch")) < 150


async def test_a_locked_delayed_handoff_is_dispatched_soon_after_it_is_let_go(
    database: Database, world: World
) -> None:
    await world.agent("ada")
    handoff_id = await world.value(
        "insert into handoffs (from_agent, to_agent, task_description, available_at)"
        " values ('eve', 'ada', 'do it', now() + interval '100 ms') returning id"
    )
    async with World.on(database) as stranger:
        locking = stranger.connection.transaction()
        await locking.start()
        await stranger.execute("select from handoffs for update")
        await world.value("select pg_sleep_for('100 ms')")
        async with leader(database, safety_poll="1h") as process:
            await locking.rollback()

            await process.seen("handoff.dispatched", within=ONE_POLL, handoff_id=str(handoff_id))


# --- strangers on the channels --------------------------------------------------------------------

HOSTILE = {
    "no JSON": "hello",
    "nothing": "",
    "a list": "[1, 2]",
    "a number": "17",
    "null": "null",
    "a huge number": "1" * 7000,
    "deep nesting": "[" * 7900,
    "many addresses": json.dumps({"event": "queued", "addresses": ["a"] * 1500}),
    "one long address": json.dumps({"event": "queued", "addresses": ["x" * 7900]}),
    "addresses of the wrong type": '{"event": "queued", "addresses": "ada"}',
    "addresses that are no text": '{"event": "queued", "addresses": [1, null, {}, []]}',
    "agents of the wrong type": '{"event": "idle", "agents": {"ada": 1}}',
    "an unknown event": '{"event": "exploded"}',
    "an event that is no text": '{"event": ["queued"]}',
    "an escaped NUL": '{"event": "queued", "addresses": ["a\\u0000b"]}',
    "half a surrogate pair": '{"event": "queued", "addresses": ["\\ud800"]}',
    "half a surrogate pair in an agent": '{"event": "idle", "agents": ["\\udfff"]}',
    "control characters": '{"event": "queued", "addresses": ["\\u001b[2J"]}',
    "the longest payload": "x" * 7999,
    "a probe of somebody else": '{"probe": "0123456789abcdef"}',
    "half a probe": '{"probe"',
    "a duplicate key": '{"event": "queued", "event": "idle", "agents": ["ada"], "agents": [7]}',
    "not a number": '{"event": NaN, "addresses": [Infinity]}',
}


@pytest.mark.parametrize("channel", ["handoffs", "agent_status"])
async def test_nothing_that_strangers_say_on_a_channel_stops_the_daemon(
    database: Database, world: World, channel: str
) -> None:
    ada = await world.agent("ada")
    async with leader(database, safety_poll="1h") as process:
        for payload in HOSTILE.values():
            await world.execute("select pg_notify($1, $2)", channel, payload)

            handoff_id = await world.handoff("ada")

            await process.seen("handoff.dispatched", within=AT_ONCE, handoff_id=str(handoff_id))
            await world.complete(handoff_id, 1, ada)
        assert not process.logged("pass.failed")


# --- acts and looks -------------------------------------------------------------------------------


async def backend_of(world: World, application: str) -> int:
    """The server process of one of the daemon's connections."""

    async def probe() -> int | None:
        pid: int | None = await world.value(
            "select pid from pg_stat_activity"
            " where application_name = $1 and datname = current_database()",
            application,
        )
        return pid

    pid = await eventually(probe)
    assert pid
    return pid


async def end_backend(world: World, application: str) -> None:
    """End one of the daemon's connections."""
    pid = await backend_of(world, application)
    assert await world.value("select pg_terminate_backend($1)", pid)
