"""Daemons are killed, stopped and restarted: one of them leads, and none of them does harm."""

import itertools
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import anyio
import pytest

from tests.faults.bare_field import bare_field
from tests.faults.blows.daemons_rolled import DaemonsRolled
from tests.faults.checking.log import told_again
from tests.faults.field import Member, logged_reigns
from tests.integration.daemon.daemons import QUICK_SWEEP, daemon, leader
from tests.integration.schema.world import World
from tests.support.postgres import Database
from tests.support.processes import RunningProcess
from tests.support.waiting import eventually

TAKE_OVER_WITHIN = timedelta(seconds=2)
LONGEST_DELAY_S = 2.0
SHORT_LEASE = {**QUICK_SWEEP, "leader_stale_after": "1s", "leader_poll": "100ms"}
EVERY_S = 0.02
"""Between two handoffs of a stream."""
LOGGED_WITHIN = timedelta(seconds=20)


# --- a leader that stands still -------------------------------------------------------------------


async def test_a_leader_that_wakes_after_its_lease_changes_nothing_before_it_leads_again(
    database: Database, world: World
) -> None:
    """Work lies there when it wakes, and the daemon that leads by now is too slow to give it."""
    await crew(world, 20)
    async with (
        two_logins(world, database) as (first_login, second_login),
        leader(database.dsn_as(first_login), SHORT_LEASE) as first,
        standby(database.dsn_as(second_login)) as second,
    ):
        first.kill(signal.SIGSTOP)
        await second.seen("leadership.acquired", term=2)
        second.kill(signal.SIGSTOP)
        handoffs = [await world.handoff("crew") for _ in range(10)]

        first.kill(signal.SIGCONT)
        await first.seen("leadership.lost", term=1)
        again = await first.seen("leadership.acquired", term=3)

        second.kill(signal.SIGCONT)
        await second.seen("leadership.lost", term=2)
        await second.seen("leadership.awaited", count=2)
        await eventually(partial(are_given, world, handoffs))
        assert await written_by(world, first_login, before=again["timestamp"]) == []
        assert await dispatches(world) == len(handoffs)


async def test_a_leader_that_wakes_tells_again_no_more_than_its_last_batch(
    database: Database, world: World
) -> None:
    async with leader(database, SHORT_LEASE) as first, standby(database) as second:
        leads, other = first, second
        async with a_stream(database):
            for term in range(1, 4):
                await leads.seen("handoff.queued", count=20 * term)
                leads.kill(signal.SIGSTOP)
                await other.seen("leadership.acquired", term=term + 1)
                leads.kill(signal.SIGCONT)
                await leads.seen("leadership.lost", term=term)
                leads, other = other, leads
        last = await world.value("select max(sequence) from coordination_events")
        await leads.seen("handoff.queued", event_number=last, within=LOGGED_WITHIN)

        reigns = [*logged_reigns(first), *logged_reigns(second)]
        log = [reign.numbers for reign in sorted(reigns, key=lambda reign: reign.term)]
        assert list(told_again(log)) == []
        assert {number for numbers in log for number in numbers} >= await all_events(world)


# --- many daemons ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, pytest.param(5, marks=pytest.mark.slow)])
async def test_one_of_many_leads_and_each_killed_leader_is_followed_within_two_seconds(
    database: Database, world: World, count: int
) -> None:
    await crew(world, count)
    async with many(database, count) as daemons:
        for term in range(1, count):
            [leads] = [one for one in daemons if one.logged("leadership.acquired", term=term)]
            daemons.remove(leads)
            killed = time.monotonic()
            leads.kill()
            await the_next_leads(daemons, term + 1)

            took = time.monotonic() - killed
            sys.stdout.write(f"{count} daemons, term {term + 1} after {took:.2f} s\n")
            assert took < TAKE_OVER_WITHIN.total_seconds()
            handoff_id = await world.handoff("crew")
            await eventually(partial(are_given, world, [handoff_id]))

        terms = [line["term"] for one in daemons for line in one.logged("leadership.acquired")]
        assert terms == [count], "a daemon that was not killed led once, and was the last to lead"


async def test_a_rolling_restart_delays_no_handoff_by_more_than_two_seconds(
    database: Database, world: World, tmp_path: Path
) -> None:
    await crew(world, 2000)
    field = bare_field(database, tmp_path)
    field.daemons = [
        Member(f"daemon-{n}", lambda: daemon(database), longest_absence_s=0.1) for n in range(2)
    ]
    async with anyio.create_task_group() as at_work:
        for member in field.daemons:
            at_work.start_soon(member.serve, field.chance)
        await eventually(partial(both_serve, field.daemons), within=timedelta(seconds=20))
        async with a_stream(database, to="crew"):
            proof = await DaemonsRolled().strike(field)

        sent = await world.value("select count(*) from handoffs")
        await eventually(partial(all_given, world))
        delays = await delays_s(world)
        sys.stdout.write(f"{proof}: {sent} handoffs, {told(delays)}\n")
        assert proof.count("ended with 0") == 2
        assert max(delays) < LONGEST_DELAY_S
        at_work.cancel_scope.cancel()


# --- acts and looks -------------------------------------------------------------------------------


@asynccontextmanager
async def standby(database: Database | str) -> AsyncIterator[RunningProcess]:
    """A daemon with a short lease that stands by."""
    async with daemon(database, SHORT_LEASE) as process:
        await process.seen("daemon.ready", role="standby")
        yield process


@asynccontextmanager
async def two_logins(world: World, database: Database) -> AsyncIterator[tuple[str, str]]:
    """Two logins of daemons, each a member of the other's circle: the events tell them apart."""
    first, second = f"first_of_{database.name}", f"second_of_{database.name}"
    await world.execute(f"create role {first} login in role coordinator_daemon")
    await world.execute(f"create role {second} login in role coordinator_daemon, pg_signal_backend")
    await world.execute(f"grant pg_signal_backend to {first}")
    try:
        yield first, second
    finally:
        await world.execute(f"drop role {first}, {second}")


@asynccontextmanager
async def many(database: Database, count: int) -> AsyncIterator[list[RunningProcess]]:
    """So many daemons with the default timings; one leads, and the others stand by."""
    async with AsyncExitStack() as stack:
        daemons = [await stack.enter_async_context(leader(database))]
        daemons += [await stack.enter_async_context(daemon(database)) for _ in range(1, count)]
        for one in daemons[1:]:
            await one.seen("daemon.ready", role="standby")
        yield daemons


@asynccontextmanager
async def a_stream(database: Database, *, to: str = "nobody") -> AsyncIterator[None]:
    """Handoffs without end, until the end of the block."""

    async def send() -> None:
        async with World.on(database) as sender:
            for _ in itertools.count():
                await sender.handoff(to)
                await anyio.sleep(EVERY_S)

    async with anyio.create_task_group() as sending:
        sending.start_soon(send)
        yield
        sending.cancel_scope.cancel()


async def crew(world: World, count: int) -> None:
    """Idle agents of one role, whose heartbeats last for a while."""
    await world.execute(
        "select from generate_series(1, $1) n,"
        " register_agent('agent-' || n, gen_random_uuid(), '{crew}')",
        count,
    )


async def the_next_leads(daemons: Sequence[RunningProcess], term: int) -> None:
    """Wait until one of them leads in this term."""

    async def leads() -> bool:
        return any(one.logged("leadership.acquired", term=term) for one in daemons)

    await eventually(leads, within=2 * TAKE_OVER_WITHIN)


async def both_serve(daemons: Sequence[Member]) -> bool:
    """Whether each of them is ready."""
    return all(one.process and one.process.logged("daemon.ready") for one in daemons)


async def are_given(world: World, handoffs: Sequence[UUID]) -> bool:
    """Whether each of these has a holder."""
    held = "select count(*) from handoffs where status = 'in_progress' and id = any ($1)"
    return bool(await world.value(held, handoffs) == len(handoffs))


async def all_given(world: World) -> bool:
    """Whether nothing waits."""
    return not await world.value("select exists (select from handoffs where status = 'pending')")


async def written_by(world: World, login: str, *, before: str) -> list[str]:
    """What a login's sessions did before a moment, as the log tells moments."""
    rows = await world.rows(
        "select event from coordination_events"
        " where by_user = $1 and occurred_at < $2::text::timestamptz",
        login,
        before,
    )
    return [row["event"] for row in rows]


async def dispatches(world: World) -> int:
    """How many dispatches there were in all."""
    return int(
        await world.value(
            "select count(*) from coordination_events where event = 'handoff.dispatched'"
        )
    )


async def delays_s(world: World) -> list[float]:
    """How long each handoff waited for its dispatch, in order."""
    rows = await world.rows(
        "select (detail ->> 'waited_s')::float8 from coordination_events"
        " where event = 'handoff.dispatched' order by 1"
    )
    return [row[0] for row in rows]


async def all_events(world: World) -> set[int]:
    """The numbers of all events so far."""
    return {row[0] for row in await world.rows("select sequence from coordination_events")}


def told(delays: Sequence[float]) -> str:
    """The median and the worst."""
    return f"median {delays[len(delays) // 2]:.3f} s, worst {delays[-1]:.3f} s"
