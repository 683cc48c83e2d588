"""Agents are killed, stopped and doubled, and a thousand of them come back at once."""

import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.faults.bare_field import bare_field
from tests.faults.blows.sessions_terminated import SessionsTerminated
from tests.faults.field import Field
from tests.integration.daemon.daemons import QUICK_SILENCE, leader
from tests.integration.schema.world import World
from tests.support.postgres import Database, migrate, throw_away_server
from tests.support.processes import RunningProcess, running
from tests.support.waiting import eventually

BEAT_S = 0.25
LONG_S = 60.0
"""Work that nobody ends before its time."""
SHORT_S = 0.01
PATIENCE = timedelta(seconds=60)

PROCESSES, HOSTS, AGENTS = 2, 20, 25
CROWD = PROCESSES * HOSTS * AGENTS
BACK_WITHIN = timedelta(seconds=5)
"""Two tries to connect, with the pauses before them."""
ROOM: Mapping[str, str] = {"max_connections": str(PROCESSES * HOSTS + 12)}
"""Room for everybody once: the hosts, the daemon, this test, and those reserved for a superuser."""


async def test_what_a_killed_agent_held_goes_to_another_one(
    database: Database, world: World
) -> None:
    async with leader(database, QUICK_SILENCE) as daemon, telling(database, "ada", LONG_S) as ada:
        await daemon.seen("amnesty.ended")
        handoff_id = await world.handoff("worker")
        await ada.seen("body.begun", handoff_id=str(handoff_id), attempt=1)

        ada.kill()

        async with telling(database, "bob", SHORT_S):
            await daemon.seen("handoff.taken_back", handoff_id=str(handoff_id), reason="lapsed")
            done = await daemon.seen("handoff.succeeded", handoff_id=str(handoff_id))
            assert (done["agent"], done["attempt"]) == ("bob", 2)


async def test_an_agent_that_wakes_after_its_work_was_taken_back_stops_it_and_works_on(
    database: Database, world: World
) -> None:
    async with leader(database, QUICK_SILENCE) as daemon, telling(database, "ada", LONG_S) as ada:
        await daemon.seen("amnesty.ended")
        handoff_id = await world.handoff("worker")
        await ada.seen("body.begun", handoff_id=str(handoff_id), attempt=1)

        ada.kill(signal.SIGSTOP)
        async with telling(database, "bob", SHORT_S):
            await daemon.seen("handoff.succeeded", handoff_id=str(handoff_id), attempt=2)
        ada.kill(signal.SIGCONT)

        await ada.seen("body.stopped", handoff_id=str(handoff_id), attempt=1)
        await ada.seen("lease.lost", handoff_id=str(handoff_id), attempt=1)
        assert await world.state(handoff_id) == ("completed", "succeeded")
        await daemon.seen("agent.recovered", agent="ada")
        another = await world.handoff("ada")
        await ada.seen("body.begun", handoff_id=str(another))


async def test_the_older_of_two_processes_of_one_name_stops_and_does_not_register_again(
    database: Database, world: World
) -> None:
    async with leader(database), telling(database, "ada", LONG_S) as older:
        handoff_id = await world.handoff("ada")
        await older.seen("body.begun", handoff_id=str(handoff_id), attempt=1)

        async with telling(database, "ada", LONG_S) as newer:
            await newer.seen("body.begun", handoff_id=str(handoff_id), attempt=2)
            await older.seen("body.stopped", handoff_id=str(handoff_id), attempt=1)

            assert await older.wait() != 0
            assert "another process has registered as agent ada" in older.stderr
            assert await world.agent_events() == ["agent.registered", "agent.replaced"]
            assert newer.process.poll() is None


@pytest.mark.slow
async def test_a_thousand_agents_cut_off_at_once_are_back_within_five_seconds_and_work_as_before(
    tmp_path: Path,
) -> None:
    """Though the server has not a single connection to spare."""
    async with throw_away_server(settings=ROOM) as server:
        field = bare_field(Database("postgres", server), tmp_path)
        async with field.database.connect() as connection:
            await migrate(connection)
        async with leader(field.database), a_crowd(field.database) as crowd:
            usual_s = await a_handoff_for_each(field)
            for _ in range(3):
                cut_off = await field.ask(now)
                began = time.monotonic()
                proof = await SessionsTerminated().strike(field)

                await eventually(partial(field.ask, all_heard_since(cut_off)), within=PATIENCE)
                back_s = time.monotonic() - began
                took_s = await a_handoff_for_each(field)
                sys.stdout.write(
                    f"{proof}; all {CROWD} agents were heard after {back_s:.2f} s;"
                    f" a handoff for each took {took_s:.2f} s then, and {usual_s:.2f} s before\n"
                )
                assert back_s < BACK_WITHIN.total_seconds()
                assert took_s < 3 * usual_s
            assert [process.stderr for process in crowd if process.stderr] == []
            assert await field.ask(blocked) == []


# --- acts and looks -------------------------------------------------------------------------------


def telling(
    database: Database, name: str, work_s: float
) -> AbstractAsyncContextManager[RunningProcess]:
    """An agent that tells what it lives through."""
    program = Path(__file__).with_name("telling_agent.py")
    return running(
        [sys.executable, program, database.dsn, name, str(BEAT_S), str(work_s)],
        cwd=program.parents[2],
    )


@asynccontextmanager
async def a_crowd(database: Database) -> AsyncIterator[list[RunningProcess]]:
    """A thousand agents on forty hosts in two processes, all of them registered."""
    program = Path(__file__).with_name("crowd.py")
    async with AsyncExitStack() as stack:
        crowd = [
            await stack.enter_async_context(
                running(
                    [sys.executable, program, database.dsn, f"crowd-{nth}", *_SIZES],
                    cwd=program.parents[2],
                )
            )
            for nth in range(PROCESSES)
        ]
        for process in crowd:
            await process.seen("host.ready", count=HOSTS, within=timedelta(seconds=60))
        yield crowd


_SIZES = (str(HOSTS), str(AGENTS), "2")


async def now(world: World) -> datetime:
    """The time by the database's clock."""
    moment: datetime = await world.value("select clock_timestamp()")
    return moment


def all_heard_since(moment: datetime) -> Callable[[World], Awaitable[bool]]:
    """Whether each agent has beaten since then."""

    async def heard(world: World) -> bool:
        count = "select count(*) from agent_status where last_seen > $1"
        return bool(await world.value(count, moment) == CROWD)

    return heard


async def a_handoff_for_each(field: Field) -> float:
    """Queue one for each agent; return how many seconds it took until all were done."""
    began = time.monotonic()
    await field.ask(queue)
    await eventually(partial(field.ask, all_is_done), within=PATIENCE)
    return time.monotonic() - began


async def queue(world: World) -> None:
    """One handoff for each agent."""
    await world.execute(
        "insert into handoffs (from_agent, to_agent, task_description)"
        " select 'eve', 'worker', 'do it' from generate_series(1, $1)",
        CROWD,
    )


async def all_is_done(world: World) -> bool:
    """Whether everything has succeeded."""
    left = "select exists (select from handoffs where outcome is distinct from 'succeeded')"
    return not await world.value(left)


async def blocked(world: World) -> list[str]:
    """Whom the daemon has blocked."""
    rows = await world.rows("select agent from coordination_events where event = 'agent.blocked'")
    return [row["agent"] for row in rows]
