"""What heartbeats cost: no wait for the disk, no index entry."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from coordinator.core.model import AgentState, Life
from tests.support.crew import Crew, crew_at
from tests.support.postgres import Database
from tests.support.sdk import Desk, desk_at
from tests.support.waiting import eventually

NAMES = [f"agent-{number}" for number in range(20)]
BEATS = 50


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with desk_at(database) as desk:
        # The servers of the tests wait for no disk at all.
        await desk.sql.execute(f"alter database {database.name} set synchronous_commit = on")
        yield desk


async def enrol(crew: Crew) -> None:
    for name in NAMES:
        await crew.calls.register(Life(name, crew.incarnation), roles=(), metadata={})


async def is_on_its_way(desk: Desk) -> bool:
    """Whether something is logged that has not been written to disk."""
    found = await desk.sql.fetchval(
        "select pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn()"
    )
    return bool(found)


async def test_a_heartbeat_does_not_wait_for_the_disk(database: Database, desk: Desk) -> None:
    left = 0
    async with crew_at(database, desk) as crew:
        await enrol(crew)
        for _ in range(BEATS):
            assert len(await crew.calls.beat(NAMES, crew.incarnation)) == len(NAMES)
            left += await is_on_its_way(desk)

    assert left > BEATS // 2


async def test_what_an_agent_says_after_a_heartbeat_does(database: Database, desk: Desk) -> None:
    left = 0
    async with crew_at(database, desk) as crew:
        await enrol(crew)
        for number in range(BEATS):
            await crew.calls.beat(NAMES, crew.incarnation)
            said = AgentState.WORKING if number % 2 else AgentState.IDLE
            await crew.calls.set_status(
                Life(NAMES[0], crew.incarnation), said, reason=None, current_task=None
            )
            left += await is_on_its_way(desk)

    # The server itself logs something now and then, and does not wait for that.
    assert left < BEATS // 5


async def test_heartbeats_touch_no_index(database: Database, desk: Desk) -> None:
    async def updates(at_least: int) -> asyncpg.Record:
        async def probe() -> asyncpg.Record | None:
            found = await desk.sql.fetchrow(
                "select n_tup_upd as all, n_tup_hot_upd as hot from pg_stat_user_tables"
                " where relname = 'agent_status'"
            )
            assert found is not None
            return found if found["all"] >= at_least else None

        found = await eventually(probe)
        assert found is not None
        return found

    async with crew_at(database, desk) as crew:
        await enrol(crew)
        for _ in range(BEATS):
            await crew.calls.beat(NAMES, crew.incarnation)
    # Sessions tell what they have done when they end.
    found = await updates(BEATS * len(NAMES))

    assert found["hot"] / found["all"] >= 0.99
