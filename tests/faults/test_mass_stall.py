"""Ten thousand agents are silent because the database was away: nobody is blocked for it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta

import anyio
import pytest

from tests.faults.test_outages import frozen
from tests.integration.daemon.beating import beating_agents
from tests.integration.daemon.daemons import leader
from tests.integration.daemon.test_leadership import renewed
from tests.integration.schema.world import World
from tests.support.postgres import Cluster, Database

HOSTS, AGENTS = 10, 1000
STALE_AFTER = timedelta(seconds=6)
SILENCE: Mapping[str, str] = {
    "heartbeat_interval": "2s",
    "stale_after": f"{STALE_AFTER.total_seconds():g}s",
    "take_back_after": "7s",
    "sweep_interval": "200ms",
}
BEAT = timedelta(seconds=1)
OUTAGE = STALE_AFTER + timedelta(seconds=1)
AMNESTY = timedelta(seconds=60)


@pytest.mark.slow
async def test_no_agent_is_blocked_for_an_outage_though_they_come_back_one_by_one(
    own_cluster: Cluster, own_database: Database
) -> None:
    """The last ones take nearly as long as `stale_after` lets them."""
    async with hosts(own_database, STALE_AFTER * 0.9), leader(own_database, SILENCE) as daemon:
        await daemon.seen("amnesty.ended", within=AMNESTY)
        before = len(daemon.logged("amnesty.ended"))

        await own_cluster.server.stop()
        await daemon.seen("store.lost")
        await anyio.sleep(OUTAGE.total_seconds())  # the outage itself
        await own_cluster.server.launch()

        await daemon.seen("amnesty.ended", count=before + 1, within=AMNESTY)
        await nobody_was_blocked(own_database)


@pytest.mark.slow
async def test_no_agent_is_blocked_while_the_server_stands_still(
    own_cluster: Cluster, own_database: Database
) -> None:
    async with hosts(own_database, BEAT), leader(own_database, SILENCE) as daemon:
        await daemon.seen("amnesty.ended", within=AMNESTY)
        before = len(daemon.logged("amnesty.granted"))

        with frozen(own_cluster):
            await anyio.sleep(OUTAGE.total_seconds())  # the standstill itself

        await daemon.seen("amnesty.granted", count=before + 1)
        await daemon.seen("amnesty.ended", count=before + 1, within=AMNESTY)
        await nobody_was_blocked(own_database)


@asynccontextmanager
async def hosts(database: Database, return_over: timedelta) -> AsyncIterator[None]:
    """Ten thousand agents of ten processes, which come back one after the other."""
    async with AsyncExitStack() as stack:
        for nth in range(1, HOSTS + 1):
            await stack.enter_async_context(host(database, nth, return_over * (nth / HOSTS)))
        yield


def host(
    database: Database, nth: int, back_after: timedelta
) -> AbstractAsyncContextManager[object]:
    """The agents of one process."""
    names = (f"agent-{nth}-{number}" for number in range(AGENTS))
    return beating_agents(database, *names, every=BEAT, back_after=back_after)


async def nobody_was_blocked(database: Database) -> None:
    """Once the first verdicts could have fallen: all are idle, and none was ever blocked."""
    async with World.on(database) as world:
        await renewed(world, times=10)
        assert await world.value("select count(*) from agent_status where status = 'idle'") == (
            HOSTS * AGENTS
        )
        verdicts = "select count(*) from coordination_events where event = 'agent.blocked'"
        assert await world.value(verdicts) == 0
