"""A daemon with nothing to do hardly asks, and yet finds what nobody rang for."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from tests.integration.daemon.daemons import QUICK_SILENCE, leader
from tests.integration.schema.world import World
from tests.support.postgres import Cluster, Database
from tests.support.talkative import talk, talkative_cluster

QUICK = {"safety_poll": "400ms", "sweep_interval": "400ms", "tail_interval": "400ms"}
"""The ratios of the defaults, with the sweep as seldom as the others."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def talkative() -> AsyncIterator[Cluster]:
    async with talkative_cluster() as cluster:
        yield cluster


@pytest.fixture
async def database(talkative: Cluster) -> AsyncIterator[Database]:
    async with talkative.database() as database:
        yield database


async def test_at_rest_the_sweeps_look_is_all_that_is_asked(
    database: Database, world: World
) -> None:
    await world.agent("ada")
    async with leader(database, QUICK_SILENCE, **QUICK) as process:
        await process.seen("agent.blocked", agent="ada")
        await talk(database, seconds=2)  # the last looks of the others

        during = await talk(database, seconds=4)

        assert 6 <= during.statements["coordinator sweep"] <= 11
        assert during.statements["coordinator dispatch"] == 0
        assert during.statements["coordinator tail"] == 0
        assert during.statements["coordinator listener"] == 0


async def test_at_rest_what_did_not_ring_is_found_by_the_sweeps_look(
    database: Database, world: World
) -> None:
    await world.agent("ada")
    async with leader(database, **QUICK, stale_after="1h", take_back_after="1h") as process:
        await talk(database, seconds=2)
        async with database.connect() as stranger:
            await stranger.execute("alter table handoffs disable trigger handoffs_queued")
            await stranger.execute(
                "insert into handoffs (from_agent, to_agent, task_description)"
                " values ('eve', 'ada', 'do it')"
            )

        await process.seen("handoff.dispatched", within=timedelta(seconds=5), agent="ada")


async def test_at_rest_a_transition_that_does_not_ring_is_logged_after_the_next_look(
    database: Database, world: World
) -> None:
    ada = await world.agent("ada")
    async with leader(database, **QUICK) as process:
        held = await world.handoff("ada")
        await process.seen("handoff.dispatched")
        await talk(database, seconds=2)

        await world.accept(held, 1, ada)

        await process.seen("handoff.accepted", within=timedelta(seconds=5))
