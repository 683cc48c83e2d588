"""Two daemons restarted in turn under load, and upgraded past a migration: nothing lost, no wait.

The load is that of `tests/faults`, whose checker decides whether anything was lost, doubled or
overtaken. Beside it a crew that always has somebody idle is sent a handoff every few milliseconds:
what one of those waits for its dispatch is the daemons' doing alone.

The upgrade is from this release to the one after it, which is this tree with one migration more.
"""

import os
import random
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio
import pytest

from coordinator.config import Settings
from coordinator.config.durations import shown
from coordinator.core.errors import ExitCode
from tests.faults.battle import Battle
from tests.faults.blows.daemons_rolled import DaemonsRolled
from tests.faults.field import Member
from tests.faults.ground import TIMINGS, Camp, durable_database, field_of
from tests.faults.seeds import SEED, SOAK
from tests.integration.daemon.daemons import daemon
from tests.integration.schema.world import World
from tests.support.next_release import next_release
from tests.support.postgres import Database
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

RESTARTS = int(os.environ.get("COORDINATOR_TEST_RESTARTS", "100" if SOAK else "20"))
ALONE = RESTARTS >= 100
LONGEST_DELAY_S = 2.0 if ALONE else 4.0
"""Beside the short run work the tests of another worker: 2.2 s were seen at a load of 16."""
AS_BY_DEFAULT: Mapping[str, str] = {
    name: shown(getattr(Settings(), name))
    for name in ("leader_poll", "leader_stale_after", "safety_poll")
}
"""What decides how soon a successor leads; a restart is not to be quicker here than elsewhere."""
CREW = 200
"""More than are sent in two seconds."""
SENT_EVERY_S = 0.05
SETTLED_EVERY_S = 0.05
SOON = timedelta(seconds=30)
RATE = 20.0


@pytest.mark.soak
@pytest.mark.timeout(60 + 15 * RESTARTS)
async def test_rolling_restarts_lose_nothing_and_delay_no_handoff_for_long() -> None:
    chance = random.Random(f"{SEED} rolling restarts")
    async with durable_database() as database:
        camp = Camp([partial(daemon, database, TIMINGS, AS_BY_DEFAULT)] * 2, database.dsn_as)
        async with field_of(database, camp, chance, rate=RATE) as field:
            battle = Battle(field)
            await eventually(partial(all_serve, field.daemons), within=SOON)
            async with a_crew(database):
                await battle.strike_each([DaemonsRolled()], times=RESTARTS // 2)

            broken = await battle.verdict()
            delays = await field.ask(delays_s)
            sys.stdout.write(f"{2 * len(battle.strikes)} restarts, {told(delays)}\n")
            assert broken == []
            assert battle.missed == {}
            assert all(strike.proof.count("ended with 0") == 2 for strike in battle.strikes)
            assert len(delays) > RESTARTS, "too few handoffs to prove anything"
            assert max(delays) < LONGEST_DELAY_S


@pytest.mark.timeout(240)
async def test_a_rolling_upgrade_past_a_migration_loses_nothing_and_delays_nobody(
    tmp_path: Path,
) -> None:
    """The migration under daemons and agents at work; then each daemon anew, of the new release."""
    chance = random.Random(f"{SEED} rolling upgrade")
    later = next_release(tmp_path)
    async with durable_database() as database:
        camp = Camp([partial(daemon, database, TIMINGS, AS_BY_DEFAULT)] * 2, database.dsn_as)
        async with field_of(database, camp, chance, rate=RATE) as field:
            battle = Battle(field)
            await eventually(partial(all_serve, field.daemons), within=SOON)
            async with a_crew(database):
                await battle.strike_each([], times=0)  # until all are at work

                async with later.run(database, "migrate") as migrating:
                    assert await migrating.wait() == ExitCode.OK, str(migrating)
                await at_work_for(database, handoffs=60)
                assert {member.lives for member in (*field.daemons, *field.clients)} == {1}
                for member in field.daemons:
                    member.spawn = partial(later.daemon, database, TIMINGS, AS_BY_DEFAULT)
                proof = await DaemonsRolled().strike(field)
                await at_work_for(database, handoffs=60)

            broken = await battle.verdict()
            delays = await field.ask(delays_s)
            sys.stdout.write(f"{proof}; {told(delays)}\n")
            assert broken == []
            assert proof.count("ended with 0") == 2
            assert max(delays) < LONGEST_DELAY_S


# --- the crew -------------------------------------------------------------------------------------


@asynccontextmanager
async def a_crew(database: Database) -> AsyncIterator[None]:
    """Send to a crew that does its work at once, until the end of the block; then let it finish."""
    async with World.on(database) as world:
        await world.execute(
            "insert into agent_status (agent_name, roles)"
            " select 'crew-' || n, '{crew}' from generate_series(1, $1) n",
            CREW,
        )
    async with anyio.create_task_group() as at_work:
        at_work.start_soon(_settle, database)
        async with anyio.create_task_group() as sending:
            sending.start_soon(_send, database)
            yield
            sending.cancel_scope.cancel()
        await eventually(partial(_has_finished, database), within=SOON)
        at_work.cancel_scope.cancel()


async def _send(database: Database) -> None:
    async with World.on(database) as world:
        while True:
            await world.handoff("crew")
            await anyio.sleep(SENT_EVERY_S)  # the rate


async def _settle(database: Database) -> None:
    async with World.on(database) as world:
        while True:
            await world.execute(
                "update handoffs set status = 'completed'"
                " where to_agent = 'crew' and status = 'in_progress'"
            )
            await world.execute(
                "update agent_status set last_seen = now()"
                " where agent_name like 'crew-%' and last_seen < now() - interval '500ms'"
            )
            await anyio.sleep(SETTLED_EVERY_S)  # the work


async def _has_finished(database: Database) -> bool:
    async with World.on(database) as world:
        return not await world.value(
            "select exists (select from handoffs where to_agent = 'crew' and finished_at is null)"
        )


async def at_work_for(database: Database, *, handoffs: int) -> None:
    """Wait until so many more of the crew's handoffs have been dispatched."""
    async with World.on(database) as world:
        before = len(await delays_s(world))

        async def enough() -> bool:
            return len(await delays_s(world)) >= before + handoffs

        await eventually(enough, within=SOON)


async def delays_s(world: World) -> list[float]:
    """How long each of the crew's handoffs waited for its dispatch, in order."""
    rows = await world.rows(
        "select (detail ->> 'waited_s')::float8 from coordination_events"
        " where event = 'handoff.dispatched' and detail ->> 'to_agent' = 'crew' order by 1"
    )
    return [row[0] for row in rows]


def told(delays: Sequence[float]) -> str:
    """The median, the ninety-ninth of a hundred, and the worst."""
    middle, high = delays[len(delays) // 2], delays[len(delays) * 99 // 100]
    return (
        f"{len(delays)} handoffs waited: median {middle:.3f} s, p99 {high:.3f} s,"
        f" worst {delays[-1]:.3f} s"
    )


async def all_serve(daemons: Sequence[Member]) -> bool:
    """Whether each of them is ready."""
    return all(one.process and one.process.logged("daemon.ready") for one in daemons)
