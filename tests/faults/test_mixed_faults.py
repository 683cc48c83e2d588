"""Faults mixed at random, under load: nothing is lost, doubled, overlapping or overtaken."""

import itertools
import random
import sys
from datetime import timedelta

import anyio
import pytest

from tests.faults.afar import field_afar
from tests.faults.arsenal import ANYWHERE, QUICK
from tests.faults.battle import Battle
from tests.faults.blows.link_cut import LinkCut
from tests.faults.blows.link_forgotten import LinkForgotten
from tests.faults.blows.link_reset import LinkReset
from tests.faults.blows.link_slow import LinkSlow
from tests.faults.blows.pooler_restarted import PoolerRestarted
from tests.faults.fault import Fault
from tests.faults.ground import beside, durable_database, field_of
from tests.faults.seeds import SEED, SOAK
from tests.support.network import AVAILABLE
from tests.support.pooler import PGBOUNCER

BRIEFLY = timedelta(seconds=12)
AT_LENGTH = timedelta(seconds=90)
A_ROUND = timedelta(minutes=5)
"""Of a soak: each round has a field and dice of its own, and can be repeated alone by its seed."""


@pytest.mark.timeout(300)
async def test_the_promises_hold_whatever_is_killed() -> None:
    sys.stdout.write(f"COORDINATOR_TEST_SEED={SEED}\n")
    async with (
        durable_database() as database,
        field_of(database, beside(database), random.Random(f"{SEED} quick")) as field,
    ):
        battle = Battle(field)

        await battle.strike_for(QUICK, BRIEFLY)

        assert await battle.verdict() == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not AVAILABLE, reason="needs root, and /dev/net/tun")
@pytest.mark.skipif(PGBOUNCER is None, reason="apt-get install pgbouncer")
async def test_the_promises_hold_whatever_strikes_server_network_daemons_and_agents() -> None:
    assert await broken_in_a_round(f"{SEED} mixed", AT_LENGTH) == []


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.skipif(not SOAK, reason="COORDINATOR_TEST_SOAK_MINUTES is not set")
async def test_the_promises_hold_for_hours() -> None:
    end = anyio.current_time() + SOAK.total_seconds()
    for number in itertools.count(1):
        if anyio.current_time() >= end:
            return
        broken = await broken_in_a_round(f"{SEED} round {number}", A_ROUND)
        sys.stdout.write(f"round {number}: {broken or 'nothing broken'}\n")
        sys.stdout.flush()
        assert broken == []


async def broken_in_a_round(seed: str, duration: timedelta) -> list[str]:
    """Let everything that there is strike at random; say which promises were broken."""
    sys.stdout.write(f"COORDINATOR_TEST_SEED={SEED}, the dice: {seed}\n")
    async with field_afar(random.Random(seed)) as afar:
        battle = Battle(afar.field)
        of_the_network: list[Fault] = [
            LinkCut(afar.hosts),
            LinkForgotten(afar.hosts),
            LinkReset(afar.hosts),
            LinkSlow(afar.hosts),
            PoolerRestarted(afar.pooler),
        ]
        await battle.strike_for([*ANYWHERE, *of_the_network], duration)
        return await battle.verdict()
