"""A stranger holds a lock: what it delays, and that nobody is condemned for it.

Rows that are locked are passed by, and everything else goes on. A lock on a whole table stops what
needs the table, heartbeats among it; so the sweep stands still as well, and grants an amnesty.
"""

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import anyio
import pytest

from coordinator.agents import AgentHost, HeldHandoff
from tests.faults.bare_field import bare_field
from tests.faults.blows.stranger_locks import StrangerLocks
from tests.integration.daemon.beating import beating_agents
from tests.integration.daemon.daemons import QUICK_SILENCE, QUICK_SWEEP, leader
from tests.integration.schema.world import World
from tests.support.commands import ended
from tests.support.postgres import Cluster, Database
from tests.support.processes import RunningProcess
from tests.support.waiting import eventually

SHORT = timedelta(seconds=3)
"""Twice `stale_after` of QUICK_SILENCE."""
A_MINUTE = timedelta(minutes=1)
PATIENT: Mapping[str, str] = {
    "heartbeat_interval": "2s",
    "stale_after": "8s",
    "take_back_after": "12s",
    "sweep_interval": "500ms",
}
"""A minute is several times each of these, and the agents of these tests beat much faster."""
SOON = timedelta(seconds=2)
LIVENESS_LOOKS_EVERY_S = 5
BLOCKED = "select count(*) from coordination_events where event = 'agent.blocked'"
TAKEN_BACK = "select count(*) from coordination_events where event = 'handoff.taken_back'"
TABLES = [
    f"lock table {table} in {mode} mode"
    for table in ("handoffs", "agent_status")
    for mode in ("share", "access exclusive")
]


async def test_tables_locked_for_long_make_no_agent_stale_and_leave_the_daemon_alive(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with anyio.create_task_group() as at_once:
        for lock in TABLES:
            at_once.start_soon(outlasts, lock, SHORT, QUICK_SILENCE, cluster, tmp_path)


async def test_a_locked_agent_is_delayed_alone_and_not_its_siblings_of_one_host(
    cluster: Cluster,
) -> None:
    await delays_nobody_else(SHORT, QUICK_SILENCE, cluster)


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_locks_of_a_minute_do_no_more_harm_than_short_ones(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with anyio.create_task_group() as at_once:
        at_once.start_soon(delays_nobody_else, A_MINUTE, PATIENT, cluster)
        for lock in TABLES:
            at_once.start_soon(outlasts, lock, A_MINUTE, PATIENT, cluster, tmp_path)


async def test_a_locked_handoff_is_passed_by_and_given_once_it_is_let_go(
    database: Database, world: World
) -> None:
    async with leader(database) as process, World.on(database) as stranger:
        locked = await world.handoff("ada")
        async with stranger.savepoint():
            await stranger.execute("select from handoffs where id = $1 for update", locked)
            life = await world.agent("ada")
            await world.agent("bob")
            others = [await world.handoff("ada"), await world.handoff("bob")]
            for other in others:
                await process.seen("handoff.dispatched", handoff_id=str(other))
            await world.complete(others[0], 1, life)
            assert await world.state(locked) == ("pending", None)

        await process.seen("handoff.dispatched", within=SOON, handoff_id=str(locked))


async def test_a_locked_overdue_handoff_keeps_no_other_from_its_end(
    database: Database, world: World
) -> None:
    async with leader(database, QUICK_SWEEP) as process, World.on(database) as stranger:
        async with stranger.savepoint():
            locked = await overdue_soon(world)
            await stranger.execute("select from handoffs where id = $1 for update", locked)
            other = await overdue_soon(world)
            await process.seen("handoff.failed", handoff_id=str(other), reason="deadline")
            assert await world.state(locked) == ("pending", None)

        await process.seen("handoff.failed", handoff_id=str(locked), reason="deadline")


async def overdue_soon(world: World) -> UUID:
    """A handoff with a deadline in half a second."""
    handoff_id = await world.value(
        "insert into handoffs (from_agent, to_agent, task_description, deadline_at)"
        " values ('eve', 'nobody', 'do it', now() + interval '500 ms') returning id"
    )
    assert isinstance(handoff_id, UUID)
    return handoff_id


async def delays_nobody_else(
    lasting: timedelta, timings: Mapping[str, str], cluster: Cluster
) -> None:
    """Lock one of three agents of a host: the others work on, and are not condemned."""
    async with (
        cluster.database() as database,
        AgentHost.connect(database.dsn, heartbeat_interval=timedelta(milliseconds=500)) as host,
        AsyncExitStack() as agents,
        anyio.create_task_group() as at_work,
        leader(database, timings) as process,
        World.on(database) as world,
        World.on(database) as stranger,
    ):
        for name in ("ada", "bob", "cleo"):
            agent = await agents.enter_async_context(host.agent(name))
            at_work.start_soon(agent.run, do_nothing)
        await process.seen("amnesty.ended")

        async with stranger.savepoint():
            await stranger.execute("select from agent_status where agent_name = 'ada' for update")
            held_back = await world.handoff("ada")
            over = time.monotonic() + lasting.total_seconds()
            while time.monotonic() < over:
                for sibling in ("bob", "cleo"):
                    handoff_id = await world.handoff(sibling)
                    await eventually(partial(is_done, world, handoff_id))  # while the lock is held
                await anyio.sleep(lasting.total_seconds() / 20)  # the siblings' calm work
            assert await world.state(held_back) == ("pending", None)

        await eventually(partial(is_done, world, held_back))
        for event in ("agent.blocked", "handoff.taken_back"):
            assert not [line for line in process.logged(event) if line["agent"] != "ada"]
        at_work.cancel_scope.cancel()


async def do_nothing(handoff: HeldHandoff) -> None:
    """Complete it."""


async def outlasts(
    lock: str,
    lasting: timedelta,
    timings: Mapping[str, str],
    cluster: Cluster,
    directory: Path,
) -> None:
    """Hold a lock on a table, and see the daemon and a few agents come out of it as they were."""
    health = directory / f"health-{TABLES.index(lock)}"
    locked = StrangerLocks(longest=lasting, shortest=lasting, locks=(lock,))
    async with (
        cluster.database() as database,
        beating_agents(database, *(f"agent-{n}" for n in range(5))),
        leader(database, timings, safety_poll="1s", health_socket=str(health)) as process,
        World.on(database) as world,
    ):
        await process.seen("amnesty.ended")
        async with anyio.create_task_group() as meanwhile:
            meanwhile.start_soon(stays_alive, health)
            meanwhile.start_soon(keep_sending, database)
            proof = await locked.strike(bare_field(database, directory))
            meanwhile.cancel_scope.cancel()

        handoff_id = await world.handoff("agent-0")
        await process.seen("handoff.dispatched", within=SOON, handoff_id=str(handoff_id))
        assert not proof.startswith("0 waited"), proof
        # Verdicts fall again once this amnesty is over, and there is nobody to condemn.
        await amnestied_again(process)
        assert await world.value(BLOCKED) == 0, lock
        assert await world.value(TAKEN_BACK) == 0, lock


async def amnestied_again(process: RunningProcess) -> None:
    """Wait for the end of the amnesty that a lock has led to, if it has led to one."""
    if granted := process.logged("amnesty.granted")[1:]:
        await process.seen("amnesty.ended", count=1 + len(granted))


async def keep_sending(database: Database) -> None:
    """Hand off again and again, and wait as long as it takes."""
    async with World.on(database, lock_timeout="0") as sender:
        while True:
            await sender.handoff("nobody")
            await anyio.sleep(0.1)  # what a sender may do in between


async def stays_alive(health: Path) -> None:
    """Look again and again whether the daemon's liveness probe is content."""
    while True:
        asked = await ended("health", "--socket", str(health))
        assert asked.code == 0, asked
        await anyio.sleep(LIVENESS_LOOKS_EVERY_S)


async def is_done(world: World, handoff_id: object) -> bool:
    """Whether a handoff has been completed."""
    done = "select status = 'completed' from handoffs where id = $1"
    return bool(await world.value(done, handoff_id))
