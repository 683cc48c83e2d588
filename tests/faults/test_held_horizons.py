"""A transaction that never ends keeps dead rows alive: dispatch and log go on all the same."""

import statistics
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.faults.bare_field import bare_field
from tests.faults.blows.horizon_held import (
    WAYS,
    Hold,
    HorizonHeld,
    by_another_database,
)
from tests.integration.daemon.daemons import leader
from tests.integration.schema.world import World
from tests.support.postgres import Database
from tests.support.waiting import eventually

SOON = timedelta(seconds=1)
LOOKS = 10
DEAD = 1_000
"""Handoffs that came and went while the horizon was held; their rows and index entries remain."""
MANY_DEAD = 20_000


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(way.__name__))
async def test_while_the_horizon_is_held_work_is_dispatched_and_logged_soon(
    way: Hold, database: Database, world: World, tmp_path: Path
) -> None:
    await world.agent("ada", plain=True)
    async with leader(database) as process, way(bare_field(database, tmp_path)) as xid:
        await come_and_go(world, DEAD)
        await eventually(partial(is_all_logged, world))

        handoff_id = await world.handoff("ada")

        await process.seen("handoff.dispatched", within=SOON, handoff_id=str(handoff_id))
        assert await oldest(world) <= int(xid)


@pytest.mark.slow
async def test_many_dead_rows_do_not_make_a_dispatch_slow(
    database: Database, world: World, tmp_path: Path
) -> None:
    await world.agent("ada", plain=True)
    async with leader(database), by_another_database(bare_field(database, tmp_path)):
        before = await dispatch_s(world)
        await come_and_go(world, MANY_DEAD)
        await eventually(partial(is_all_logged, world), within=timedelta(seconds=30))

        after = await dispatch_s(world)

        sys.stdout.write(f"figure: dispatch in {before:.4f} s, {MANY_DEAD} later {after:.4f} s\n")
        assert after < SOON.total_seconds() / 4


async def test_the_fault_proves_that_it_held_the_horizon(
    database: Database, world: World, tmp_path: Path
) -> None:
    short = timedelta(milliseconds=300)
    proof = await HorizonHeld(longest=short, shortest=short).strike(bare_field(database, tmp_path))

    assert "held the horizon" in proof
    assert not await world.value("select count(*) from pg_prepared_xacts")


async def come_and_go(world: World, count: int) -> None:
    """Let handoffs for a busy agent be queued and cancelled, a thousand at a time."""
    await world.execute("update agent_status set status = 'blocked', blocked_reason = 'busy'")
    for _ in range(count // 1000):
        await world.execute(
            "insert into handoffs (from_agent, to_agent, task_description)"
            " select 'eve', 'ada', 'do it' from generate_series(1, 1000)"
        )
        await world.execute(
            "update handoffs set status = 'completed', outcome = 'cancelled'"
            " where status = 'pending'"
        )
    await world.execute("update agent_status set status = 'idle'")


async def dispatch_s(world: World) -> float:
    """The median time from a handoff's insert to its dispatch, by the database's clock."""
    for _ in range(LOOKS):
        handoff_id = await world.handoff("ada")
        await eventually(partial(is_given, world, handoff_id))
        await world.execute("update handoffs set status = 'completed' where id = $1", handoff_id)
    rows = await world.rows(
        "select extract(epoch from d.occurred_at - q.occurred_at)::float8 as s"
        " from coordination_events d join coordination_events q using (handoff_id)"
        " where d.event = 'handoff.dispatched' and q.event = 'handoff.queued'"
        " order by d.sequence desc limit $1",
        LOOKS,
    )
    return float(statistics.median(row["s"] for row in rows))


async def is_given(world: World, handoff_id: object) -> bool:
    """Whether a handoff was dispatched."""
    given = "select status <> 'pending' from handoffs where id = $1"
    return bool(await world.value(given, handoff_id))


async def is_all_logged(world: World) -> bool:
    """Whether the daemon has logged every transition so far."""
    return bool(
        await world.value(
            "select c.highest >= (select max(sequence) from coordination_events)"
            " from coordination.tail_cursor c"
        )
    )


async def oldest(world: World) -> int:
    """The oldest transaction that a snapshot of now would have to wait for."""
    return int(await world.value("select pg_snapshot_xmin(pg_current_snapshot())::text"))
