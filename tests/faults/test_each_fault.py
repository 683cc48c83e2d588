"""Each fault by itself, under load: it strikes, and the promises hold."""

import random
import sys

import pytest

from tests.faults.arsenal import ANYWHERE
from tests.faults.battle import Battle
from tests.faults.fault import Fault
from tests.faults.ground import beside, durable_database, field_of
from tests.faults.seeds import SEED

STRIKES = 3


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", ANYWHERE, ids=lambda fault: str(fault.name))
async def test_the_promises_hold_whatever_strikes(fault: Fault) -> None:
    sys.stdout.write(f"COORDINATOR_TEST_SEED={SEED}\n")
    chance = random.Random(f"{SEED} {fault.name}")
    async with (
        durable_database() as database,
        field_of(database, beside(database), chance) as field,
    ):
        battle = Battle(field)

        await battle.strike_each([fault], times=STRIKES)

        assert await battle.verdict() == []
