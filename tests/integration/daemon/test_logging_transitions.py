"""Every transition is logged, whoever made it, in the order of their numbers."""

import signal
import statistics
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

import pytest

from coordinator.core.transitions import TRANSITIONS
from tests.integration.daemon.daemons import QUICK_TAIL, daemon, event_numbers, leader
from tests.integration.schema.world import Life, World
from tests.support.postgres import Database
from tests.support.processes import SCRIPT, LogLine, RunningProcess, running
from tests.support.waiting import eventually


async def test_what_happened_without_a_daemon_is_logged_at_its_start(
    database: Database, world: World
) -> None:
    await make_every_transition(world)
    recorded = await recorded_events(world)
    assert {event for _, event in recorded} == set(TRANSITIONS)

    async with daemon(database, log_level="debug") as process:
        last, name = recorded[-1]
        await process.seen(name, event_number=last)

        logged = [(line["event_number"], line["event"]) for line in transitions(process)]

    assert [line for line in logged if line[0] <= last] == recorded


async def test_a_log_line_tells_who_did_what_to_whom(database: Database, world: World) -> None:
    ada = await world.agent("ada")
    await world.execute("set application_name = 'a stranger'")
    handoff_id = await world.held(ada)

    async with daemon(database) as process:
        line = await process.seen("handoff.dispatched")

    told = {
        "handoff_id": str(handoff_id),
        "attempt": 1,
        "agent": "ada",
        "from_agent": "eve",
        "to_agent": "ada",
        "by_user": "postgres",
        "by_application": "a stranger",
        "level": "info",
    }
    assert told.items() <= line.items()


async def test_task_text_context_and_result_stay_out_of_the_log(
    database: Database, world: World
) -> None:
    ada = await world.agent("ada")
    handoff_id = await world.held(ada, task_description="zebra", context={"key": "zebra"})
    await world.fail(handoff_id, 1, ada, retry_in=timedelta(0))
    await world.dispatch("ada")
    await world.complete(handoff_id, 2, ada, {"secret": "zebra"})

    async with daemon(database, log_level="debug") as process:
        await process.seen("handoff.succeeded")
        text = process.stdout + process.stderr

    assert "zebra" not in text
    assert "it broke" not in text
    assert database.dsn not in text


async def test_a_restarted_daemon_does_not_repeat_what_was_logged(
    database: Database, world: World
) -> None:
    await world.handoff("nobody")
    async with leader(database) as first:
        await first.seen("handoff.queued")
        first.kill(signal.SIGTERM)
        assert await first.wait() == 0
    await world.handoff("nobody")

    async with leader(database) as second:
        await second.seen("handoff.queued", event_number=2)

        assert event_numbers(second) == [2]


async def test_after_a_kill_only_the_last_batch_repeats_with_the_same_numbers(
    database: Database, world: World
) -> None:
    backlog = 4500
    await queue_many(world, backlog)
    async with daemon(database) as first:
        await first.seen("handoff.queued", count=1)
        first.kill()
        await first.wait()
        told = event_numbers(first)

    async with daemon(database) as second:
        await second.seen("handoff.queued", event_number=backlog)
        again = event_numbers(second)

    assert sorted({*told, *again}) == list(range(1, backlog + 1))
    repeated = {*told} & {*again}
    assert len(repeated) <= 1000
    assert repeated == set(told[len(told) - len(repeated) :])
    assert told == sorted(set(told))
    assert again == sorted(set(again))


async def test_a_strangers_long_transaction_does_not_stall_the_log(
    database: Database, world: World
) -> None:
    async with (
        leader(database) as process,
        World.on(database) as stranger,
        stranger.connection.transaction(),
    ):
        await stranger.execute("create table public.theirs (id integer)")

        await world.handoff("nobody")

        await process.seen("handoff.queued", within=timedelta(seconds=3))


async def test_a_lower_number_that_commits_later_is_not_missed(
    database: Database, world: World
) -> None:
    async with leader(database) as process, World.on(database) as slow:
        async with slow.connection.transaction():
            early = await slow.handoff("early")
            await world.handoff("late")
            await process.seen("handoff.queued", to_agent="late")

        await process.seen("handoff.queued", handoff_id=str(early))

        assert event_numbers(process) == [2, 1]


async def test_a_slow_transaction_is_not_missed_when_its_daemon_is_killed_meanwhile(
    database: Database, world: World
) -> None:
    async with World.on(database) as slow, slow.connection.transaction():
        early = await slow.handoff("early")
        async with leader(database) as first:
            await world.handoff("late")
            await first.seen("handoff.queued", to_agent="late")
            first.kill()
            await first.wait()

    async with leader(database) as second:
        await second.seen("handoff.queued", handoff_id=str(early))


async def test_a_rolled_back_transition_is_not_logged(database: Database, world: World) -> None:
    async with leader(database) as process:
        async with world.savepoint():
            await world.handoff("undone")
        await world.handoff("done")

        await process.seen("handoff.queued", to_agent="done")

        assert not process.logged("handoff.queued", to_agent="undone")


async def test_what_rings_nobody_is_logged_within_the_tail_interval(
    database: Database, world: World
) -> None:
    ada = await world.agent("ada")
    async with leader(database, QUICK_TAIL, log_level="debug") as process:
        handoff_id = await world.handoff("ada")
        await process.seen("handoff.dispatched")
        await world.accept(handoff_id, 1, ada)

        await world.execute("select report_progress($1, 1, 'ada', $2)", handoff_id, ada.incarnation)

        await process.seen("handoff.progressed", within=timedelta(seconds=2))


async def test_a_burst_is_logged_whole_and_in_order(database: Database, world: World) -> None:
    async with leader(database) as process:
        await queue_many(world, 3500)

        await process.seen("handoff.queued", event_number=3500)

        assert event_numbers(process) == list(range(1, 3501))


@pytest.mark.slow
async def test_a_long_backlog_is_logged_at_a_steady_pace(database: Database, world: World) -> None:
    """A page costs what it holds, not what waits behind it."""
    short = await seconds_a_page(database, world, 3_000)
    long = await seconds_a_page(database, world, 60_000)

    assert long < 3 * short


async def test_what_could_not_be_written_is_logged_by_the_next_daemon(
    database: Database, world: World
) -> None:
    await world.agent("ada")
    environment = {"DATABASE_URL": database.dsn, "COORDINATOR_HEALTH_TCP": "off"}
    async with running(["sh", "-c", 'exec "$0" run >/dev/full', SCRIPT], env=environment) as deaf:
        handoff_id = await world.handoff("ada")
        await eventually(lambda: is_held(world, handoff_id))
        deaf.kill(signal.SIGTERM)
        assert await deaf.wait() == 0

    async with leader(database) as process:
        await process.seen("handoff.dispatched", handoff_id=str(handoff_id))

        assert event_numbers(process) == [1, 2, 3]


async def test_a_strangers_prepared_transaction_does_not_stall_the_log(
    database: Database, world: World
) -> None:
    await world.execute("begin")
    await world.execute("create table public.theirs (id integer)")
    await world.execute(f"prepare transaction '{database.name}'")
    try:
        async with leader(database) as process:
            await world.handoff("nobody")

            await process.seen("handoff.queued", within=timedelta(seconds=3))
    finally:
        await world.execute(f"rollback prepared '{database.name}'")


# --- acts -----------------------------------------------------------------------------------------


async def is_held(world: World, handoff_id: UUID) -> bool:
    """Whether somebody holds this handoff."""
    return await world.state(handoff_id) == ("in_progress", None)


async def seconds_a_page(database: Database, world: World, count: int) -> float:
    """How long the daemon takes for a full page, in the middle, after so many were queued."""
    await queue_many(world, count)
    last = await world.value("select max(sequence) from coordination_events")
    async with daemon(database, log_level="debug") as process:
        await process.seen("handoff.queued", event_number=last, within=timedelta(seconds=60))
        pages = process.logged("pass.completed", pass_name="tail", rows=1000)
        return statistics.median(float(page["took_s"]) for page in pages)


async def queue_many(world: World, count: int) -> None:
    """Queue handoffs for an agent that does not exist, in one statement."""
    await world.execute(
        "insert into handoffs (from_agent, to_agent, task_description)"
        " select 'eve', 'nobody', 'do it' from generate_series(1, $1)",
        count,
    )


async def recorded_events(world: World) -> list[tuple[int, str]]:
    """Number and name of every event in the database, in order."""
    rows = await world.rows("select sequence, event from coordination_events order by sequence")
    return [(row["sequence"], row["event"]) for row in rows]


def transitions(process: RunningProcess) -> Iterable[LogLine]:
    """The log lines of transitions."""
    return (line for line in process.lines if "event_number" in line)


async def make_every_transition(world: World) -> None:
    """Make a transition of every kind, with no daemon about."""
    ada = await world.agent("ada")
    await _settle(world, ada)
    await _cancel_and_delete(world, ada)
    await _take_back(world, ada)
    await _speak(world)


async def _settle(world: World, ada: Life) -> None:
    handoff_id = await world.held(ada, accepted=True)
    await world.execute("select report_progress($1, 1, 'ada', $2)", handoff_id, ada.incarnation)
    await world.fail(handoff_id, 1, ada, retry_in=timedelta(0))
    await world.dispatch("ada")
    await world.fail(handoff_id, 2, ada, retry=False)
    await world.retry(handoff_id)
    await world.dispatch("ada")
    await world.complete(handoff_id, 3, ada)
    await world.complete(handoff_id, 1, ada)


async def _cancel_and_delete(world: World, ada: Life) -> None:
    handoff_id = await world.held(ada, accepted=True)
    await world.cancel(handoff_id)
    await world.complete(handoff_id, 1, ada)
    await world.cancel(await world.handoff("ada"))
    await world.execute("delete from handoffs where id = $1", await world.handoff("ada"))


async def _take_back(world: World, ada: Life) -> None:
    await world.held(ada)
    await world.age_heartbeat("ada", timedelta(minutes=5))
    await world.sweep("block_stale_agents")
    await world.sweep("take_back_lapsed")
    await world.heartbeat(ada)
    await world.agent("ada")


async def _speak(world: World) -> None:
    bob = await world.agent("bob")
    for word in ("working", "idle"):
        await world.execute("select from set_agent_status('bob', $1, $2)", word, bob.incarnation)
    await world.execute("update agent_status set roles = '{reviewer}' where agent_name = 'bob'")
    await world.execute("select leave('bob', $1)", bob.incarnation)
    await world.execute("delete from agent_status where agent_name = 'bob'")
