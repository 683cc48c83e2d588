"""The audit trail: complete, in order, never rewritten, and enough to rebuild every handoff."""

from datetime import timedelta
from uuid import uuid4

import pytest

from coordinator.core.transitions import SAFE_DETAILS, TRANSITIONS
from tests.integration.schema.world import Life, World
from tests.model.replay import AGENTS, HANDOFFS, Replay, by_key
from tests.support.postgres import Database

CONTENT = {"error", "note", "progress", "result", "word", "status"}
"""Details that hold what agents wrote, or that a column repeats."""


async def test_a_whole_life_is_told_in_order(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada, accepted=True)
    await world.fail(handoff, 1, ada, retry_in=timedelta(0))
    await world.dispatch("ada")
    await world.accept(handoff, 2, ada)
    await world.cancel(handoff)
    await world.complete(handoff, 2, ada)
    await world.retry(handoff)

    assert await world.events(handoff) == [
        "handoff.queued",
        "handoff.dispatched",
        "handoff.accepted",
        "handoff.attempt_failed",
        "handoff.dispatched",
        "handoff.accepted",
        "handoff.cancel_requested",
        "handoff.succeeded",
        "handoff.reopened",
    ]


async def test_dispatch_and_settlement_imply_the_agents_status(world: World) -> None:
    ada = await world.agent()

    await world.complete(await world.held(ada), 1, ada)

    assert await world.agent_events() == ["agent.registered"]


async def test_a_forced_end_tells_that_the_agent_is_blocked(world: World) -> None:
    ada = await world.agent()

    await world.end_by_force(await world.held(ada, accepted=True))

    assert await world.agent_events() == ["agent.registered", "agent.blocked"]


async def test_staleness_and_recovery_are_told(world: World) -> None:
    ada = await world.agent(last_seen_ago=timedelta(seconds=46))
    await world.sweep("block_stale_agents")
    await world.heartbeat(ada)

    assert await world.agent_events() == ["agent.registered", "agent.blocked", "agent.recovered"]


async def test_an_event_says_who_caused_it(database: Database) -> None:
    async with World.on(database, application_name="the test") as world:
        handoff = await world.handoff("ada")

        [row] = await world.rows("select * from coordination_events")

        assert (row["handoff_id"], row["attempt"], row["by_application"]) == (
            handoff,
            0,
            "the test",
        )
        assert row["by_user"] == await world.value("select session_user")
        assert row["xid"] is not None


async def test_an_event_carries_attempt_agent_and_reason(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada)
    await world.register(Life("ada", uuid4()))

    [row] = await world.rows("select * from coordination_events where event = 'handoff.taken_back'")

    assert (row["handoff_id"], row["attempt"], row["agent"]) == (handoff, 1, "ada")
    assert row["detail"]["reason"] == "replaced"


async def test_one_statement_tells_of_its_rows_in_their_order(world: World) -> None:
    await world.execute(
        "insert into handoffs (from_agent, to_agent, task_description)"
        " select 'eve', 'ada', n::text from generate_series(1, 100) n"
    )

    rows = await world.rows(
        "select h.position from coordination_events e join handoffs h on h.id = e.handoff_id"
        " order by e.sequence"
    )
    positions = [row[0] for row in rows]
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    "change",
    [
        "update coordination_events set agent = 'mallory'",
        "update coordination_events set agent = 'mallory' where false",
    ],
)
async def test_the_events_are_append_only(world: World, change: str) -> None:
    await world.handoff("ada")

    async with world.refused("ZH012"):
        await world.execute(change)


async def test_an_events_name_is_dotted(world: World) -> None:
    async with world.refused("23514"):
        await world.execute("insert into coordination_events (event) values ('Something else')")


async def test_every_event_of_the_schema_is_known_to_the_core(world: World) -> None:
    await many_lives(world)
    rows = await world.rows("select distinct event from coordination_events")

    assert {row[0] for row in rows} == set(TRANSITIONS)


async def test_every_detail_is_safe_or_known_as_content(world: World) -> None:
    await many_lives(world)
    rows = await world.rows(
        "select distinct k from coordination_events e, jsonb_object_keys(e.detail) k"
    )

    assert {row[0] for row in rows} - SAFE_DETAILS.keys() - CONTENT == set()


async def test_the_content_of_a_task_is_in_no_event(world: World) -> None:
    ada = await world.agent()
    handoff = await world.held(ada, task_description="secret", context={"secret": "secret"})
    await world.complete(handoff, 1, ada, {"secret": "secret"})

    assert (
        await world.value("select count(*) from coordination_events where detail::text ~ 'secret'")
        == 0
    )


async def test_replaying_the_events_gives_the_present_state_of_every_handoff_and_agent(
    world: World,
) -> None:
    await many_lives(world)

    replay = await replayed(world)

    assert replay.handoffs == by_key(await world.rows(HANDOFFS))
    assert replay.agents == by_key(await world.rows(AGENTS))


async def many_lives(world: World) -> None:
    """Let everything happen at least once that can happen."""
    ada, bob = await world.agent("ada"), await world.agent("bob", plain=True)
    done = await world.held(ada, accepted=True)
    await world.execute("select report_progress($1, 1, 'ada', $2, 'x')", done, ada.incarnation)
    await world.complete(done, 1, ada)
    await world.complete(done, 7, ada)
    await world.retry(done)
    await world.cancel(done)
    failed = await world.held(ada)
    await world.fail(failed, 1, ada, retry_in=timedelta(0))
    await world.dispatch("ada")
    await world.fail(failed, 2, ada, retry=False)
    stopped = await world.held(bob)
    await world.cancel(stopped)
    await world.age(stopped, "cancel_requested_at", timedelta(minutes=1))
    await world.sweep("end_cancelled")
    await world.execute("update agent_status set status = 'idle' where agent_name = 'bob'")
    await world.execute("update agent_status set status = 'working' where agent_name = 'bob'")
    await world.execute("update agent_status set roles = '{r}' where agent_name = 'bob'")
    await world.age_heartbeat("bob", timedelta(minutes=1))
    await world.sweep("block_stale_agents")
    await world.heartbeat(bob)
    held = await world.held(ada, accepted=True)
    ada = Life("ada", uuid4())
    await world.register(ada)
    await world.dispatch("ada")
    assert (await world.the(held))["attempt"] == 2
    await world.handoff("nobody")
    gone = await world.handoff("nobody")
    await world.execute("delete from handoffs where id = $1", gone)
    await world.execute("select leave('bob')")
    await world.execute("delete from agent_status where agent_name = 'bob'")


async def replayed(world: World) -> Replay:
    """Every handoff and every agent, from the events alone."""
    replay = Replay()
    replay.read(await world.rows("select * from coordination_events order by sequence"))
    return replay
