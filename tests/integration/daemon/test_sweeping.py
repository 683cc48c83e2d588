"""The sweep: silence is judged once an amnesty is over; promises are kept in any case."""

import signal
from datetime import timedelta
from uuid import UUID

import anyio

from tests.integration.daemon.beating import beating_agents
from tests.integration.daemon.daemons import QUICK_SILENCE, QUICK_SWEEP, leader
from tests.integration.daemon.listening import heard_by, pushed
from tests.integration.schema.world import World
from tests.support.postgres import Database

SOON = timedelta(seconds=2)


# --- silence --------------------------------------------------------------------------------------


async def test_no_verdict_falls_before_the_amnesty_of_the_start_is_over(
    database: Database, world: World
) -> None:
    await world.agent("ada", last_seen_ago=timedelta(minutes=10))
    async with leader(database, QUICK_SILENCE) as process:
        await process.seen("agent.blocked", agent="ada", reason="stale")

        order = [line["event"] for line in process.lines]

    assert order.index("amnesty.granted") < order.index("amnesty.ended")
    assert order.index("amnesty.ended") < order.index("agent.blocked")


async def test_an_agent_heard_during_the_amnesty_is_spared(
    database: Database, world: World
) -> None:
    async with beating_agents(database, "ada"), leader(database, QUICK_SILENCE) as process:
        await world.agent("bob", last_seen_ago=timedelta(minutes=10))
        await world.age_heartbeat("ada", timedelta(minutes=10))

        await process.seen("agent.blocked", agent="bob")

        assert not process.logged("agent.blocked", agent="ada")


async def test_what_a_silent_agent_holds_is_taken_back_and_given_to_another(
    database: Database, world: World
) -> None:
    async with leader(database, QUICK_SILENCE) as process:
        await world.agent("ada", roles=["reviewer"])
        handoff_id = await world.handoff("reviewer")
        await process.seen("handoff.dispatched", agent="ada", attempt=1)
        await process.seen("handoff.taken_back", handoff_id=str(handoff_id), reason="lapsed")

        await world.agent("bob", roles=["reviewer"])

        await process.seen("handoff.dispatched", agent="bob", attempt=2)
    assert await world.shows("ada") == ("blocked", "stale")


async def test_a_heartbeat_lifts_the_verdict_and_brings_work(
    database: Database, world: World
) -> None:
    ada = await world.agent("ada")
    async with leader(database, QUICK_SILENCE) as process:
        await process.seen("agent.blocked", agent="ada")
        handoff_id = await world.handoff("ada")

        await world.heartbeat(ada)

        await process.seen("agent.recovered", agent="ada")
        await process.seen("handoff.dispatched", within=SOON, handoff_id=str(handoff_id))


async def test_a_crowd_that_falls_silent_at_once_gets_an_amnesty_and_then_its_verdict(
    database: Database,
) -> None:
    async with leader(database, QUICK_SILENCE) as process:
        async with beating_agents(database, *(f"agent-{n}" for n in range(20))):
            await process.seen("amnesty.ended")

        await process.seen("amnesty.granted", count=2)
        assert not process.logged("agent.blocked")
        await process.seen("agent.blocked", count=20, reason="stale")
        assert len(process.logged("amnesty.ended")) == 2


async def test_a_daemon_that_stood_still_condemns_nobody_when_it_wakes(database: Database) -> None:
    async with leader(database, QUICK_SILENCE) as process:
        async with beating_agents(database, "ada"):
            await process.seen("amnesty.ended")
        process.kill(signal.SIGSTOP)
        await anyio.sleep(2)  # it stands still, and ada is silent for longer than stale_after

        process.kill(signal.SIGCONT)

        await process.seen("amnesty.granted", reason="passes stood still")
        assert not process.logged("agent.blocked")
        await process.seen("agent.blocked", agent="ada")


async def test_attempts_used_up_by_lapses_end_in_failure(database: Database, world: World) -> None:
    ada = await world.agent("ada")
    handoff_id = await world.held(ada, max_attempts=1)
    async with leader(database, QUICK_SILENCE) as process:
        await process.seen("handoff.failed", handoff_id=str(handoff_id), reason="lapsed")


# --- promises, which know no amnesty --------------------------------------------------------------


async def test_a_deadline_ends_what_waits(database: Database, world: World) -> None:
    async with leader(database, QUICK_SWEEP) as process:
        handoff_id = await with_deadline(world, "nobody", "300 ms")

        await process.seen(
            "handoff.failed", within=SOON, handoff_id=str(handoff_id), reason="deadline"
        )
        assert not process.logged("amnesty.ended")


async def test_a_deadline_ends_what_is_at_work_and_its_agent_is_told(
    database: Database, world: World
) -> None:
    ada = await world.agent("ada")
    async with leader(database, QUICK_SWEEP) as process, heard_by(world, "ada") as pushes:
        handoff_id = await with_deadline(world, "ada", "700 ms")
        await process.seen("handoff.dispatched")
        await world.accept(handoff_id, 1, ada)

        await process.seen("handoff.failed", within=SOON, reason="deadline")

        assert await pushed(pushes, 2) == ["dispatched", "taken_back"]
    assert await world.shows("ada") == ("blocked", "unresponsive")


async def test_an_attempt_past_its_timeout_is_taken_back(database: Database, world: World) -> None:
    ada = await world.agent("ada")
    async with leader(database, QUICK_SWEEP) as process:
        handoff_id = await world.handoff("ada", timeout=timedelta(milliseconds=300))
        await process.seen("handoff.dispatched")
        await world.accept(handoff_id, 1, ada)

        await process.seen("handoff.taken_back", within=SOON, reason="timed_out")

        assert await world.shows("ada") == ("blocked", "unresponsive")
        assert await world.complete(handoff_id, 1, ada) == "stale"
        await process.seen("handoff.dispatched", within=SOON, agent="ada", attempt=2)


async def test_a_plain_agents_timeout_counts_from_dispatch(
    database: Database, world: World
) -> None:
    await world.agent("ada", plain=True)
    async with leader(database, QUICK_SWEEP) as process:
        await world.handoff("ada", timeout=timedelta(milliseconds=300))

        await process.seen("handoff.taken_back", within=SOON, reason="timed_out")


async def test_a_cancellation_that_is_not_answered_is_carried_out_after_the_grace(
    database: Database, world: World
) -> None:
    ada = await world.agent("ada")
    handoff_id = await world.held(ada, accepted=True)
    async with leader(database, QUICK_SWEEP, cancel_grace="500ms") as process:
        await world.cancel(handoff_id)
        await process.seen("handoff.cancel_requested")

        await process.seen("handoff.cancelled", within=SOON, reason="cancel_grace")

    assert await world.state(handoff_id) == ("completed", "cancelled")
    assert await world.shows("ada") == ("blocked", "unresponsive")


# --- accept ---------------------------------------------------------------------------------------


async def test_an_unaccepted_handoff_is_pushed_again_at_half_time(
    database: Database, world: World
) -> None:
    await world.agent("ada")
    settings = {**QUICK_SILENCE, "stale_after": "60s", "take_back_after": "60s"}
    async with (
        leader(database, settings, sweep_interval="400ms", accept_timeout="1s") as process,
        heard_by(world, "ada") as pushes,
    ):
        await world.handoff("ada")

        assert await pushed(pushes, 2) == ["dispatched", "dispatched"]
        assert not process.logged("handoff.taken_back")


async def test_work_that_is_not_accepted_in_time_is_taken_back_once_no_amnesty_is_in_force(
    database: Database, world: World
) -> None:
    async with (
        leader(database, QUICK_SILENCE, accept_timeout="500ms") as process,
        beating_agents(database, "ada"),
    ):
        await world.handoff("ada")

        await process.seen("handoff.taken_back", reason="unaccepted")

        order = [line["event"] for line in process.lines]
    assert order.index("amnesty.ended") < order.index("handoff.taken_back")
    assert await world.shows("ada") == ("blocked", "unresponsive")


async def test_a_plain_agent_need_not_accept(database: Database, world: World) -> None:
    async with (
        leader(database, QUICK_SILENCE, take_back_after="1h", accept_timeout="500ms") as process,
        beating_agents(database, "bob"),
    ):
        await world.agent("ada", plain=True)
        plain, registered = await world.handoff("ada"), await world.handoff("bob")

        await process.seen("handoff.taken_back", handoff_id=str(registered), reason="unaccepted")

    assert await world.state(plain) == ("in_progress", None)


async def test_many_unaccepted_handoffs_do_not_make_the_sweep_spin(
    database: Database, world: World
) -> None:
    for name in ("ada", "bob", "eve"):
        await world.agent(name)
    async with (
        leader(
            database, accept_timeout="60s", dispatch_batch="2", sweep_interval="500ms"
        ) as process,
        heard_by(world, "ada") as pushes,
    ):
        for name in ("ada", "bob", "eve"):
            await world.handoff(name)
        await process.seen("handoff.dispatched", count=3)
        await world.execute("update handoffs set dispatched_at = now() - interval '40 s'")

        with anyio.move_on_after(2.2) as enough:
            await pushed(pushes, 30)

    assert enough.cancelled_caught


# --- acts and looks -------------------------------------------------------------------------------


async def with_deadline(world: World, to_agent: str, within: str) -> UUID:
    """Insert a handoff that must be completed within this time, by the database's clock."""
    handoff_id = await world.value(
        "insert into handoffs (from_agent, to_agent, task_description, deadline_at)"
        " values ('eve', $1, 'do it', now() + $2::text::interval) returning id",
        to_agent,
        within,
    )
    assert isinstance(handoff_id, UUID)
    return handoff_id
