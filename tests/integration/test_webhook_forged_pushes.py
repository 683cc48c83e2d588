"""Any login can notify a webhook agent's channel: it looks, and not too often, and that is all."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from coordinator.core.model import agent_channel
from tests.support.postgres import Cluster, Database
from tests.support.sdk import desk_at
from tests.support.talkative import flooded, talk, talkative_cluster
from tests.support.webhook import receiving, said, webhook

MEASURED_S = 1.5
SOON = timedelta(seconds=25)
"""The flood takes a core of its own from the server, and the tests beside this one the other."""
LOOKS_AT_ONCE = 30
LOOKS_PER_S = 15
"""Twenty looks in vain, then ten a second, and a heartbeat every 500 ms."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def talkative() -> AsyncIterator[Cluster]:
    async with talkative_cluster() as cluster:
        yield cluster


@pytest.fixture
async def database(talkative: Cluster) -> AsyncIterator[Database]:
    async with talkative.database() as database:
        yield database


@pytest.mark.slow
@pytest.mark.parametrize("event", ["dispatched", "succeeded"])
async def test_a_flood_of_forged_pushes_makes_it_look_a_few_times(
    database: Database, event: str
) -> None:
    payload = (
        f"json_build_object('event', '{event}', 'handoff_id', gen_random_uuid(),"
        " 'attempt', g)::text"
    )
    flood = f"select pg_notify('{agent_channel('ada')}', {payload}) from generate_series(1, 20) g"
    async with (
        desk_at(database) as desk,
        receiving() as receiver,
        webhook(database, receiver.url),
    ):
        receiver.answer("dispatched", said({"outcome": "succeeded"}))
        async with flooded(database, flood):
            during = await talk(database, seconds=MEASURED_S)
            await desk.reaches(await desk.give(), within=SOON, outcome="succeeded")

    assert during.statements["webhook ada"] <= LOOKS_AT_ONCE + LOOKS_PER_S * during.seconds
    assert [each.type for each in receiver.requests] == ["webhook.ping", "handoff.dispatched"]
