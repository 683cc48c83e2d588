"""PostgreSQL falls and its sessions end: how soon the daemon works again."""

import sys
import time
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import anyio
import pytest

from tests.faults.bare_field import bare_field
from tests.faults.blows.connections_exhausted import ConnectionsExhausted
from tests.faults.blows.horizon_held import HorizonHeld, by_a_prepared_transaction
from tests.faults.blows.server_killed import ServerKilled
from tests.faults.blows.server_shut_down_fast import ServerShutDownFast
from tests.faults.blows.server_shut_down_immediately import ServerShutDownImmediately
from tests.faults.blows.session_killed import SessionKilled
from tests.faults.blows.session_terminated import SessionTerminated
from tests.faults.blows.sessions_terminated import SessionsTerminated
from tests.faults.blows.statement_timeouts import StatementTimeouts
from tests.faults.blows.stranger_locks import LOCKS, StrangerLocks
from tests.faults.fault import Fault, NotStruck
from tests.integration.daemon.daemons import leader
from tests.integration.schema.world import World
from tests.support.postgres import Database
from tests.support.processes import RunningProcess

BACK_WITHIN = timedelta(seconds=2)
WORKING_WITHIN = timedelta(seconds=1)
LONG = timedelta(minutes=1)
OUTAGE = timedelta(seconds=2)
"""Long enough for the pauses between two tries to have grown to their full length."""


@pytest.mark.parametrize(
    "fall",
    [
        ServerKilled(OUTAGE, OUTAGE),
        ServerShutDownFast(OUTAGE, OUTAGE),
        ServerShutDownImmediately(OUTAGE, OUTAGE),
    ],
    ids=lambda fall: str(fall.name),
)
async def test_two_seconds_after_its_server_is_back_the_daemon_has_dispatched(
    fall: Fault, own_database: Database, tmp_path: Path
) -> None:
    async with leader(own_database) as process:
        proof = await fall.strike(bare_field(own_database, tmp_path))

        await dispatches(process, own_database, since=time.monotonic(), within=BACK_WITHIN)
        assert "postmaster" in proof
        for event in ("store.lost", "store.restored", "listener.lost", "leadership.lost"):
            assert len(process.logged(event)) == 1, event


async def test_two_seconds_after_the_crash_of_one_session_the_daemon_has_dispatched(
    own_database: Database, tmp_path: Path
) -> None:
    async with leader(own_database) as process:
        postmaster = own_database.server.pid

        proof = await SessionKilled().strike(bare_field(own_database, tmp_path))

        await dispatches(process, own_database, since=time.monotonic(), within=BACK_WITHIN)
        assert "was terminated by signal 9" in proof
        assert own_database.server.pid == postmaster
        assert len(process.logged("store.lost")) == 1


async def test_one_second_after_it_lost_any_one_of_its_sessions_the_daemon_has_dispatched(
    database: Database, tmp_path: Path
) -> None:
    field = bare_field(database, tmp_path)
    async with leader(database) as process:
        for count, purpose in enumerate(("listener", "dispatch", "sweep", "tail"), start=2):
            ended = time.monotonic()
            await SessionTerminated(f"coordinator {purpose}").strike(field)

            await dispatches(process, database, since=ended, within=WORKING_WITHIN)
            again = await process.seen("listener.connected", count=count)
            assert again["outage_s"] < WORKING_WITHIN.total_seconds(), purpose


async def test_one_second_after_it_lost_all_its_sessions_at_once_the_daemon_has_dispatched(
    database: Database, tmp_path: Path
) -> None:
    async with leader(database) as process:
        ended = time.monotonic()
        proof = await SessionsTerminated().strike(bare_field(database, tmp_path))

        assert int(proof.split()[1]) >= 4, proof
        await dispatches(process, database, since=ended, within=WORKING_WITHIN)


async def test_two_seconds_after_an_agent_is_heard_anew_the_daemon_has_dispatched(
    database: Database,
) -> None:
    """As after an outage that was longer than `stale_after`."""
    async with World.on(database) as world:
        ada = await world.agent("ada", last_seen_ago=timedelta(minutes=1))
        handoff_id = await world.handoff("ada")
        async with leader(database) as process:
            await process.seen("amnesty.granted")
            heard = time.monotonic()
            await world.heartbeat(ada)

            await seen_dispatched(process, handoff_id, since=heard, within=BACK_WITHIN)


@pytest.mark.parametrize(
    "fault",
    [
        ServerKilled(LONG, LONG),
        ConnectionsExhausted(LONG, LONG),
        StrangerLocks(LONG, LONG, locks=("lock table handoffs in access exclusive mode",)),
        HorizonHeld(LONG, LONG, ways=(by_a_prepared_transaction,)),
        StatementTimeouts(LONG, LONG),
    ],
    ids=lambda fault: str(fault.name),
)
async def test_a_fault_that_is_cancelled_mends_what_it_broke(
    fault: Fault, own_database: Database, tmp_path: Path
) -> None:
    with anyio.move_on_after(1) as cut:
        await fault.strike(bare_field(own_database, tmp_path))
    assert cut.cancelled_caught

    async with World.on(own_database) as world:
        await world.handoff("nobody")
        assert await world.value("select count(*) from pg_prepared_xacts") == 0
        assert await world.value("show statement_timeout") == "0"


async def test_a_fault_that_meets_nobody_does_not_claim_to_have_struck(
    database: Database, tmp_path: Path
) -> None:
    field = bare_field(database, tmp_path)
    for fault in (
        SessionTerminated(),
        SessionsTerminated(),
        SessionKilled(),
        StrangerLocks(locks=LOCKS[:1]),
    ):
        with pytest.raises(NotStruck):
            await fault.strike(field)


async def dispatches(
    process: RunningProcess, database: Database, *, since: float, within: timedelta
) -> None:
    """Hand something to a new agent; it must be dispatched in time."""
    async with World.on(database) as world:
        name = f"agent-{uuid4()}"
        await world.agent(name)
        handoff_id = await world.handoff(name)
    await seen_dispatched(process, handoff_id, since=since, within=within)


async def seen_dispatched(
    process: RunningProcess, handoff_id: UUID, *, since: float, within: timedelta
) -> None:
    """Await its dispatch, say how long it took, and check that it was in time."""
    await process.seen("handoff.dispatched", handoff_id=str(handoff_id))
    took = timedelta(seconds=time.monotonic() - since)
    sys.stdout.write(f"figure: dispatched {took.total_seconds():.3f} s later (limit {within})\n")
    assert took < within
