"""Each fault by itself, under load: it strikes, and the promises hold."""

import random
import sys

import pytest

from tests.faults.arsenal import ANYWHERE
from tests.faults.battle import Battle
from tests.faults.blows.clock_stepped import ClockStepped
from tests.faults.blows.disk_full import DiskFull
from tests.faults.clock import server_with_a_clock
from tests.faults.disk import server_on_a_small_disk
from tests.faults.fault import Fault
from tests.faults.ground import (
    KEEPS_WHAT_IT_CONFIRMED,
    battle_database,
    beside,
    durable_database,
    field_of,
)
from tests.faults.seeds import SEED
from tests.support.postgres import Database

STRIKES = 3


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", ANYWHERE, ids=lambda fault: str(fault.name))
async def test_the_promises_hold_whatever_strikes(fault: Fault) -> None:
    async with durable_database() as database:
        assert await broken_by(fault, database) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_promises_hold_when_the_disk_is_full() -> None:
    async with server_on_a_small_disk(KEEPS_WHAT_IT_CONFIRMED) as (server, disk):
        assert await broken_by(DiskFull(disk), await battle_database(server)) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_promises_hold_when_the_servers_clock_is_set() -> None:
    async with server_with_a_clock(KEEPS_WHAT_IT_CONFIRMED) as (server, clock):
        assert await broken_by(ClockStepped(clock), await battle_database(server)) == []


async def broken_by(fault: Fault, database: Database) -> list[str]:
    """Let the fault strike under load; say which promises were broken."""
    sys.stdout.write(f"COORDINATOR_TEST_SEED={SEED}\n")
    chance = random.Random(f"{SEED} {fault.name}")
    async with field_of(database, beside(database), chance) as field:
        battle = Battle(field)
        await battle.strike_each([fault], times=STRIKES)
        return await battle.verdict()
