"""The disk of the database is full: what was confirmed is kept, and all goes on once there is room.

At first rows are refused with 53100, and the daemon works on with what room there is. When
PostgreSQL cannot write ahead any more it falls, and cannot recover before somebody makes room.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import anyio
import pytest

from tests.faults.bare_field import bare_field
from tests.faults.blows.disk_full import DiskFull, Effect, no_row_fits, the_server_falls
from tests.faults.disk import Disk, server_on_a_small_disk
from tests.integration.daemon.beating import LOST
from tests.integration.daemon.daemons import leader
from tests.integration.schema.world import World
from tests.support.postgres import Database, migrate
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

LASTING = timedelta(seconds=3)
BACK_WITHIN = timedelta(seconds=2)
AGENTS = 5


@asynccontextmanager
async def database_on_a_small_disk() -> AsyncIterator[tuple[Database, Disk]]:
    """A migrated database that keeps what it has confirmed, and the disk that it fills alone."""
    async with server_on_a_small_disk({"synchronous_commit": "on"}) as (server, disk):
        database = Database("postgres", server)
        async with database.connect() as connection:
            await migrate(connection)
        yield database, disk


@pytest.mark.parametrize("effect", [no_row_fits, the_server_falls])
async def test_a_full_disk_loses_nothing_and_all_goes_on_when_there_is_room(
    effect: Effect, tmp_path: Path
) -> None:
    async with database_on_a_small_disk() as (database, disk), leader(database) as process:
        async with World.on(database) as world:
            for number in range(AGENTS):
                await world.agent(f"agent-{number}", plain=True)
        confirmed: list[UUID] = []
        refused: list[UUID] = []
        full = DiskFull(disk, longest=LASTING, shortest=LASTING, effects=(effect,))
        async with anyio.create_task_group() as at_work:
            at_work.start_soon(keep_sending, database, confirmed, refused)
            at_work.start_soon(keep_finishing, database)
            await eventually(lambda: has(confirmed))

            proof = await full.strike(bare_field(database, tmp_path))
            room = time.monotonic()

            async with World.on(database) as world:
                await world.agent("ada")
                handoff_id = await world.handoff("ada")
            await process.seen("handoff.dispatched", handoff_id=str(handoff_id))
            assert timedelta(seconds=time.monotonic() - room) < BACK_WITHIN

            at_work.cancel_scope.cancel()
        assert "No space left on device" in proof
        assert refused
        async with World.on(database) as world:
            there = await world.value("select array_agg(id) from handoffs")
            assert set(confirmed) <= set(there)
        assert process.process.poll() is None
        assert len(process.logged("store.lost")) == (1 if effect is the_server_falls else 0)


async def test_a_full_disk_is_freed_when_its_fault_is_cancelled(tmp_path: Path) -> None:
    a_minute = timedelta(minutes=1)
    async with database_on_a_small_disk() as (database, disk):
        with anyio.move_on_after(2) as cut:
            full = DiskFull(disk, a_minute, a_minute, effects=(the_server_falls,))
            await full.strike(bare_field(database, tmp_path))

        assert cut.cancelled_caught
        async with World.on(database) as world:
            await world.handoff("nobody", context={"much": "x" * 100_000})


async def keep_sending(database: Database, confirmed: list[UUID], refused: list[UUID]) -> None:
    """Hand off again and again, with much to carry; note what was confirmed."""
    while True:
        try:
            async with World.on(database) as world:
                while True:
                    handoff_id = uuid4()
                    await world.execute(
                        "insert into handoffs (id, from_agent, to_agent, task_description, context)"
                        " values ($1, 'eve', 'agent-' || $2, 'do it', $3)",
                        handoff_id,
                        str(len(confirmed) % AGENTS),
                        {"much": str(handoff_id) * 500},
                    )
                    confirmed.append(handoff_id)
                    await anyio.sleep(0.01)  # what a sender may do in between
        except LOST:
            refused.append(handoff_id)
            await anyio.sleep(0.1)  # its patience


async def keep_finishing(database: Database) -> None:
    """Complete all that is in progress, again and again."""
    while True:
        try:
            async with World.on(database) as world:
                while True:
                    await world.execute(
                        "update handoffs set status = 'completed' where status = 'in_progress'"
                        " and assigned_agent like 'agent-%'"
                    )
                    await anyio.sleep(0.02)  # the work itself
        except LOST:
            await anyio.sleep(0.1)  # its patience


async def has(some: list[UUID]) -> bool:
    """Whether there are a few."""
    return len(some) >= AGENTS
