"""The server has no connection left, or allows this role no more of them."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import anyio
import asyncpg
import pytest

from tests.faults.bare_field import bare_field
from tests.faults.blows.connections_exhausted import ConnectionsExhausted
from tests.integration.daemon.daemons import daemon, leader
from tests.integration.schema.world import World
from tests.support.postgres import Cluster, Database, migrate, throw_away_server
from tests.support.waiting import eventually

BACK_WITHIN = timedelta(seconds=2)
LASTING = timedelta(seconds=2)
LONG = timedelta(minutes=1)
PLACES = 15
"""Connections that the server has to give; a daemon needs four, and a fifth for a moment."""


@pytest.fixture
async def narrow_database() -> AsyncIterator[Database]:
    """A migrated database on a server with few places."""
    async with throw_away_server(settings={"max_connections": str(PLACES)}) as server:
        database = Database("postgres", server)
        async with database.connect() as connection:
            await migrate(connection)
        yield database


async def test_a_leader_that_keeps_its_connections_goes_on_without_a_free_one(
    narrow_database: Database, tmp_path: Path
) -> None:
    exhausted = ConnectionsExhausted(ends=0, longest=LONG, shortest=LONG)
    async with leader(narrow_database) as process, World.on(narrow_database) as world:
        await world.agent("ada")
        async with anyio.create_task_group() as faults:
            faults.start_soon(exhausted.strike, bare_field(narrow_database, tmp_path))
            await eventually(lambda: none_is_free(narrow_database))

            handoff_id = await world.handoff("ada")

            await process.seen("handoff.dispatched", handoff_id=str(handoff_id))
            assert await none_is_free(narrow_database)
            faults.cancel_scope.cancel()
        assert not process.logged("store.lost")


async def test_a_daemon_whose_places_were_taken_waits_in_one_line_and_returns_when_there_is_room(
    narrow_database: Database, tmp_path: Path
) -> None:
    exhausted = ConnectionsExhausted(ends=PLACES, longest=LASTING, shortest=LASTING)
    async with leader(narrow_database) as process:
        proof = await exhausted.strike(bare_field(narrow_database, tmp_path))
        free = time.monotonic()

        await process.seen("listener.connected", count=2)
        assert timedelta(seconds=time.monotonic() - free) < BACK_WITHIN
        assert "ended 4 sessions" in proof
        assert len(process.logged("store.lost")) == 1
        async with World.on(narrow_database) as world:
            await world.agent("ada")
            handoff_id = await world.handoff("ada")
            await process.seen("handoff.dispatched", handoff_id=str(handoff_id))


async def test_a_daemon_started_without_a_free_place_says_so_once_and_leads_when_there_is_one(
    narrow_database: Database, tmp_path: Path
) -> None:
    exhausted = ConnectionsExhausted(ends=0, longest=LONG, shortest=LONG)
    async with AsyncExitStack() as started:
        async with anyio.create_task_group() as faults:
            faults.start_soon(exhausted.strike, bare_field(narrow_database, tmp_path))
            await eventually(lambda: none_is_free(narrow_database))
            process = await started.enter_async_context(daemon(narrow_database))
            lost = await process.seen("store.lost")
            assert "TooManyConnectionsError" in lost["reason"]
            faults.cancel_scope.cancel()

        await process.seen("daemon.ready", role="leader")
        assert len(process.logged("store.lost")) == 1


@pytest.mark.parametrize("places", [0, 2])
async def test_a_role_with_too_few_places_waits_in_one_line_and_returns_when_it_has_enough(
    places: int, own_cluster: Cluster, own_database: Database
) -> None:
    await own_cluster.admin(
        "drop role if exists the_daemon", "create role the_daemon login in role coordinator_daemon"
    )
    async with leader(own_database.dsn_as("the_daemon")) as process:
        await own_cluster.admin(
            f"alter role the_daemon connection limit {places}", end_all_of("the_daemon")
        )
        await process.seen("store.lost")
        await anyio.sleep(1)  # the lack of places itself
        lost = process.logged("store.lost")
        await own_cluster.admin("alter role the_daemon connection limit -1")
        enough = time.monotonic()

        async with World.on(own_database) as world:
            await world.agent("ada")
            handoff_id = await world.handoff("ada")
        await process.seen("handoff.dispatched", handoff_id=str(handoff_id))
        assert timedelta(seconds=time.monotonic() - enough) < BACK_WITHIN
        assert len(lost) == 1
        assert len(process.logged("store.restored")) == 1


async def none_is_free(database: Database) -> bool:
    """Whether the server refuses a further connection."""
    try:
        async with database.connect():
            return False
    except asyncpg.TooManyConnectionsError:
        return True


def end_all_of(role: str) -> str:
    """A statement that ends every session of a role."""
    return f"select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = '{role}'"
