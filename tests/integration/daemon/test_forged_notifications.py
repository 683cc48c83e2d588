"""Any login can notify the daemon's channels, again and again: all it gets is a wasted look."""

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import pytest
import pytest_asyncio

from tests.integration.daemon.daemons import leader
from tests.integration.schema.world import World
from tests.support.postgres import Cluster, Database
from tests.support.sockets import memory
from tests.support.talkative import flooded, talk, talkative_cluster

SOON = timedelta(seconds=25)
"""The flood takes a core; ten seconds were too few where five processes shared the other one."""
"""For a machine with much to do. Work is found by wake-ups alone: the safety poll is far away."""
WATCHED_S = 2.0


@dataclass(frozen=True, slots=True)
class Most:
    """How many statements a flood may cause: so many at once, and so many a second."""

    at_once: float
    per_s: float

    def within(self, seconds: float) -> float:
        return self.at_once + self.per_s * seconds


HUSHES = 80
"""Two hushes in vain, with their reads; the next ones come after two seconds, and after four."""
LOOKS = Most(at_once=60 + HUSHES, per_s=110)
"""Fifty looks, then a hundred a second; and the clock has some of its own."""
SCANS = Most(at_once=50 + HUSHES, per_s=10)
"""Twenty scans of two statements at most, then four a second."""
TAIL = Most(at_once=30, per_s=12)

FLOODS: Mapping[str, tuple[str, Most]] = {
    "unreadable": (
        "select pg_notify('handoffs', g || clock_timestamp()::text) from generate_series(1, 50) g",
        SCANS,
    ),
    "giant": (
        "select pg_notify('handoffs', repeat('x', 7900) || g || clock_timestamp())"
        " from generate_series(1, 20) g",
        SCANS,
    ),
    "an address that does not exist": (
        "select pg_notify('handoffs', json_build_object('event', 'queued',"
        " 'addresses', array['ghost ' || random()])::text)",
        LOOKS,
    ),
    "an agent that does not exist": (
        "select pg_notify('agent_status', json_build_object('event', 'idle',"
        " 'agents', array['ghost ' || random()])::text)",
        LOOKS,
    ),
    "a hundred thousand names": (
        "select pg_notify('handoffs', json_build_object('event', 'queued', 'addresses',"
        " (select json_agg('ghost ' || (random() * 100000)::integer)"
        " from generate_series(1, 200) where g > 0))::text) from generate_series(1, 20) g",
        LOOKS,
    ),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def talkative() -> AsyncIterator[Cluster]:
    async with talkative_cluster() as cluster:
        yield cluster


@pytest.fixture
async def database(talkative: Cluster) -> AsyncIterator[Database]:
    async with talkative.database() as database:
        yield database


QUICK = ("unreadable", "a hundred thousand names")


@pytest.mark.parametrize(
    ("flood", "most"),
    [
        pytest.param(*flood, id=name, marks=[] if name in QUICK else pytest.mark.slow)
        for name, flood in FLOODS.items()
    ],
)
async def test_a_flood_of_forged_notifications_costs_few_looks_and_delays_honest_work_little(
    database: Database, world: World, flood: str, most: Most
) -> None:
    ada = await world.agent("ada")
    async with leader(database, safety_poll="1h") as process:
        before = memory(process.pid)
        async with flooded(database, flood):
            during = await talk(database, seconds=WATCHED_S)
            for _ in range(3):
                handoff_id = await world.handoff("ada")
                line = await process.seen(
                    "handoff.dispatched", within=SOON, handoff_id=str(handoff_id)
                )
                assert line["waited_s"] < SOON.total_seconds()
                await world.complete(handoff_id, 1, ada)

        assert during.statements["coordinator dispatch"] <= most.within(during.seconds)
        assert during.statements["coordinator tail"] <= TAIL.within(during.seconds)
        assert memory(process.pid) - before < 32
        assert not process.logged("listener.lost")
        assert not process.logged("pass.failed")


async def test_twenty_thousand_forged_notifications_at_once_are_soon_over(
    database: Database, world: World
) -> None:
    ada = await world.agent("ada")
    async with leader(
        database, listener_probe="500ms", sweep_interval="200ms", safety_poll="1h"
    ) as process:
        await world.execute(
            "select pg_notify('handoffs', 'forged ' || g) from generate_series(1, 20000) g"
        )
        began = time.monotonic()
        handoff_id = await world.handoff("ada")

        await process.seen("handoff.dispatched", within=SOON, handoff_id=str(handoff_id))

        assert time.monotonic() - began < SOON.total_seconds()
        assert not process.logged("listener.lost")
        assert await world.complete(handoff_id, 1, ada) == "applied"


async def test_a_forged_echo_and_forged_deeds_change_nothing(
    database: Database, world: World
) -> None:
    """The row is the truth: nothing is dispatched, freed or completed by saying so."""
    ada = await world.agent("ada")
    handoff_id = await world.held(ada, accepted=True)
    await world.agent("bob")
    before = await everything(world)
    async with leader(database, safety_poll="1h", log_level="debug") as process:
        for channel in ("handoffs", "agent_status"):
            for payload in (
                '{"event": "idle", "agents": ["ada", "bob"]}',
                '{"event": "queued", "addresses": ["ada", "bob"]}',
                f'{{"event": "succeeded", "handoff_id": "{handoff_id}", "attempt": 1}}',
                '{"probe": ""}',
                '{"probe": null}',
            ):
                await world.execute("select pg_notify($1, $2)", channel, payload)
        last = await world.handoff("bob")
        await process.seen("handoff.dispatched", handoff_id=str(last))

    after = [row for row in await everything(world) if row["id"] != last]
    assert [row for row in after if row["id"] == handoff_id] == before
    assert await world.shows("ada") == ("working", None)


# --- looks ----------------------------------------------------------------------------------------


async def everything(world: World) -> list[Mapping[str, object]]:
    return [dict(row) for row in await world.rows("select * from handoffs order by position")]
