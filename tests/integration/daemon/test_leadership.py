"""One daemon leads and the others stand by, however the leader goes; nothing is booked twice."""

import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import pytest

from coordinator.daemon.leading import LOCK_KEY
from coordinator.store import passes
from coordinator.store.connection import Connection
from coordinator.store.dsn import connect_target
from coordinator.store.passes import Limits
from tests.integration.daemon.daemons import QUICK_SWEEP, daemon, leader
from tests.integration.schema.world import (
    ACCEPT_TIMEOUT,
    CANCEL_GRACE,
    STALE_AFTER,
    TAKE_BACK_AFTER,
    World,
)
from tests.support.postgres import Database
from tests.support.processes import RunningProcess
from tests.support.waiting import eventually

TAKE_OVER_WITHIN = timedelta(seconds=2)
QUICK_SEIZURE: Mapping[str, str] = {
    **QUICK_SWEEP,
    "leader_stale_after": "1s",
    "leader_poll": "100ms",
}


async def test_the_second_daemon_stands_by(database: Database) -> None:
    async with pair(database) as (first, second):
        assert first.logged("leadership.acquired", term=1)
        assert not second.logged("leadership.acquired")
        assert second.logged("daemon.ready", role="standby")


async def test_a_standby_takes_over_from_a_killed_leader(database: Database, world: World) -> None:
    await world.agent("ada")
    async with pair(database) as (first, second):
        first.kill()
        await second.seen("leadership.acquired", within=TAKE_OVER_WITHIN, term=2)

        handoff_id = await world.handoff("ada")

        await second.seen("handoff.dispatched", handoff_id=str(handoff_id))


async def test_a_standby_takes_over_from_a_leader_that_stops_in_order(database: Database) -> None:
    async with pair(database) as (first, second):
        first.kill(signal.SIGTERM)

        await second.seen("leadership.acquired", within=TAKE_OVER_WITHIN, term=2)

        assert await first.wait() == 0


async def test_a_standby_takes_over_when_the_leaders_backend_is_ended(
    database: Database, world: World
) -> None:
    async with pair(database, leader_poll="50ms") as (first, second):
        await end_listener_of_leader(world)

        await first.seen("leadership.lost")
        term, leads = await the_next_leader(first, second)

        assert term == 2
        assert leads in (first, second)


async def test_a_stopped_leader_is_replaced_and_does_no_harm_when_it_wakes(
    database: Database, world: World
) -> None:
    await world.agent("ada")
    async with pair(database, QUICK_SEIZURE) as (first, second):
        first.kill(signal.SIGSTOP)
        await second.seen("leadership.seized", within=timedelta(seconds=5), term=1)
        await second.seen("leadership.acquired", term=2)
        handoff_id = await world.handoff("ada")
        await second.seen("handoff.dispatched", handoff_id=str(handoff_id))

        first.kill(signal.SIGCONT)
        await first.seen("leadership.lost")
        await first.seen("leadership.awaited")

        assert await world.events(handoff_id) == ["handoff.queued", "handoff.dispatched"]
        assert await stays_leader(world, second, term=2)


@pytest.mark.slow
async def test_with_the_default_timings_a_stopped_leader_is_replaced_within_15_seconds(
    database: Database,
) -> None:
    async with pair(database) as (first, second):
        stopped = time.monotonic()
        first.kill(signal.SIGSTOP)

        await second.seen("leadership.acquired", within=timedelta(seconds=20))

        assert time.monotonic() - stopped < 15
        first.kill(signal.SIGCONT)
        await first.seen("leadership.awaited")


async def test_a_lock_that_cannot_be_taken_from_its_holder_is_waited_for(
    database: Database, world: World
) -> None:
    """Anybody may take an advisory lock; a superuser's session cannot be ended by the daemon."""
    await world.execute("create role a_daemon login in role coordinator_daemon")
    try:
        async with leader(database) as former:
            former.kill()
            await former.wait()
        async with World.on(database) as stranger:
            await stranger.execute("select pg_advisory_lock($1)", LOCK_KEY)
            async with daemon(database.dsn_as("a_daemon"), QUICK_SEIZURE) as process:
                await process.seen("leadership.awaited")
                await looked(world, times=25)
                assert process.process.poll() is None
                await stranger.execute("select pg_advisory_unlock($1)", LOCK_KEY)

                await process.seen("leadership.acquired", within=TAKE_OVER_WITHIN)
    finally:
        await world.execute("drop role a_daemon")


async def test_a_busy_leader_is_left_alone(database: Database, world: World) -> None:
    async with pair(database, QUICK_SEIZURE) as (_, second):
        await world.execute(
            "insert into handoffs (from_agent, to_agent, task_description)"
            " select 'eve', 'nobody-' || n, 'do it' from generate_series(1, 20000) n"
        )
        async with World.on(database) as stranger, stranger.connection.transaction():
            await stranger.execute("select id from handoffs for update")
            await renewed(world, times=20)

        assert not second.logged("leadership.seized")


async def test_a_new_term_is_counted_up_and_the_old_leader_stands_by(
    database: Database, world: World
) -> None:
    async with pair(database, QUICK_SEIZURE) as (first, second):
        terms = [1]
        for _ in range(4):
            await end_listener_of_leader(world)
            term, _ = await the_next_leader(first, second, after=terms[-1])
            terms.append(term)

    assert terms == [1, 2, 3, 4, 5]


async def test_one_transaction_gives_a_thousand_handoffs_to_a_thousand_agents_of_one_role(
    database: Database, world: World
) -> None:
    await register_many(world, 1000)
    async with leader(database):
        await queue_many(world, 1000)

        await eventually(lambda: all_held(world, 1000), within=timedelta(seconds=20))

    assert await transactions_of_dispatch(world) == 1


async def test_dispatchers_that_all_believe_they_lead_give_no_handoff_twice(
    database: Database, world: World
) -> None:
    await register_many(world, 1000)
    async with leader(database, dispatch_batch="10"), anyio.create_task_group() as usurpers:
        for _ in range(2):
            usurpers.start_soon(usurp, database)
        await queue_many(world, 1000)
        await eventually(lambda: all_held(world, 1000), within=timedelta(seconds=30))
        usurpers.cancel_scope.cancel()

    assert await dispatches(world) == (1000, 1000, 1000)


async def test_work_goes_on_while_leaders_come_and_go(database: Database, world: World) -> None:
    await register_many(world, 300)
    async with pair(database, QUICK_SEIZURE, dispatch_batch="5") as (first, second):
        for batch in range(1, 4):
            await queue_many(world, 100)
            await end_listener_of_leader(world)
            await the_next_leader(first, second, after=batch)
        await eventually(lambda: all_held(world, 300), within=timedelta(seconds=30))

    assert await dispatches(world) == (300, 300, 300)


# --- acts and looks -------------------------------------------------------------------------------


@asynccontextmanager
async def pair(
    database: Database, *timings: Mapping[str, str], **settings: str
) -> AsyncIterator[tuple[RunningProcess, RunningProcess]]:
    """Run a leader and a standby."""
    async with (
        leader(database, *timings, **settings) as first,
        daemon(database, *timings, **settings) as second,
    ):
        await second.seen("daemon.ready", role="standby")
        yield first, second


async def end_listener_of_leader(world: World) -> None:
    """End the backend that holds the lock of leadership."""
    ended = await world.value(
        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    assert ended


async def the_next_leader(*daemons: RunningProcess, after: int = 1) -> tuple[int, RunningProcess]:
    """Wait until one of them leads in the next term."""

    async def probe() -> tuple[int, RunningProcess] | None:
        for one in daemons:
            if one.logged("leadership.acquired", term=after + 1):
                return after + 1, one
        return None

    found = await eventually(probe)
    assert found is not None
    return found


async def stays_leader(world: World, leads: RunningProcess, *, term: int) -> bool:
    """Whether the leader has renewed its term several times more, and nobody else has led."""
    await renewed(world, times=5)
    now = await world.value("select term from coordination.leadership")
    return now == term and not leads.logged("leadership.lost")


async def renewed(world: World, *, times: int) -> None:
    """Wait until the leader has shown progress this often."""
    seen: set[object] = set()

    async def probe() -> bool:
        seen.add(await world.value("select renewed_at from coordination.leadership"))
        return len(seen) > times

    await eventually(probe, within=timedelta(seconds=30))


async def looked(world: World, *, times: int) -> None:
    """Wait until a standby has looked at the leader this often."""
    seen: set[object] = set()

    async def probe() -> bool:
        seen.add(
            await world.value(
                "select max(query_start) from pg_stat_activity"
                " where datname = current_database() and application_name = 'coordinator listener'"
            )
        )
        return len(seen) > times

    await eventually(probe, within=timedelta(seconds=30))


async def register_many(world: World, count: int) -> None:
    """Register agents of the role `reviewer`."""
    await world.execute(
        "select from generate_series(1, $1) n,"
        " register_agent('agent-' || n, gen_random_uuid(), '{reviewer}')",
        count,
    )


async def queue_many(world: World, count: int) -> None:
    """Queue handoffs for the role `reviewer` in one statement."""
    await world.execute(
        "insert into handoffs (from_agent, to_agent, task_description)"
        " select 'eve', 'reviewer', 'do it' from generate_series(1, $1)",
        count,
    )


async def all_held(world: World, count: int) -> bool:
    """Whether so many handoffs are in progress."""
    held = await world.value("select count(*) from handoffs where status = 'in_progress'")
    return bool(held == count)


async def dispatches(world: World) -> tuple[int, int, int]:
    """How many dispatches there were, of how many handoffs, to how many agents."""
    [row] = await world.rows(
        "select count(*), count(distinct handoff_id) as handoffs, count(distinct agent) as agents"
        " from coordination_events where event = 'handoff.dispatched'"
    )
    return row["count"], row["handoffs"], row["agents"]


async def usurp(database: Database) -> None:
    """Dispatch in the leader's term beside it, until cancelled."""
    limits = Limits(STALE_AFTER, TAKE_BACK_AFTER, ACCEPT_TIMEOUT, CANCEL_GRACE, batch=7)
    connection = await Connection.open(connect_target(database.dsn), application_name="usurper")
    try:
        while True:
            await passes.dispatch(
                connection, addresses=["reviewer"], agents=[], term=1, limits=limits
            )
    finally:
        await connection.close()


async def transactions_of_dispatch(world: World) -> int:
    """In how many transactions handoffs were dispatched."""
    return int(
        await world.value(
            "select count(distinct xid) from coordination_events where event = 'handoff.dispatched'"
        )
    )
