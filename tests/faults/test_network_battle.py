"""The load over a network whose links are cut, forgotten, reset and slow: nothing is lost."""

import random
from datetime import timedelta

import pytest

from tests.faults.afar import field_afar
from tests.faults.battle import Battle
from tests.faults.blows.link_cut import LinkCut
from tests.faults.blows.link_forgotten import LinkForgotten
from tests.faults.blows.link_reset import LinkReset
from tests.faults.blows.link_slow import LinkSlow
from tests.faults.blows.pooler_restarted import PoolerRestarted
from tests.faults.fault import Fault
from tests.faults.seeds import SEED
from tests.support.network import AVAILABLE
from tests.support.pooler import PGBOUNCER

NOTICED = timedelta(seconds=5)
"""A silence so long is noticed, so that what was silent is given up."""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not AVAILABLE, reason="needs root, and /dev/net/tun")
@pytest.mark.skipif(PGBOUNCER is None, reason="apt-get install pgbouncer")
async def test_the_promises_hold_whatever_becomes_of_the_links() -> None:
    async with field_afar(random.Random(f"{SEED} network")) as afar:
        faults: list[Fault] = [
            LinkCut(afar.hosts, shortest=NOTICED),
            LinkForgotten(afar.hosts, shortest=NOTICED),
            LinkReset(afar.hosts),
            LinkSlow(afar.hosts),
            PoolerRestarted(afar.pooler),
        ]
        battle = Battle(afar.field)

        await battle.strike_each(faults, times=1)

        assert await battle.verdict() == []
