"""Many operations, each as the model says: 20,000 in `make check`, a million in `make soak`.

They are done in two lives, each on a database of its own, so that two workers share them.
COORDINATOR_TEST_SEED repeats a run, COORDINATOR_TEST_OPERATIONS says how long it is.
"""

import os
import random
import sys
import time

import pytest
import uvloop

from coordinator.core.errors import Refusal
from coordinator.core.model import CancelAnswer, Verdict
from tests.model.driver import Driver, driver
from tests.support.postgres import Cluster

OPERATIONS = int(os.environ.get("COORDINATOR_TEST_OPERATIONS", "20000"))
SEED = os.environ.get("COORDINATOR_TEST_SEED") or str(random.SystemRandom().randrange(10**9))
LIVES = (1, 2)
REFUSALS = set(Refusal) - {
    Refusal.NOT_THIS_LOGIN,
    Refusal.UNKNOWN_TASK,
    Refusal.DOES_NOT_SERVE,
    Refusal.TASK_UNDER_WAY,
}
"""Logins of single agents and the business half are no matter of the life cycle."""
EVERYTHING = {*REFUSALS, *Verdict, *CancelAnswer, "23505", "23514", "42501"}
"""What the database may answer, beside rows."""


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(120 if OPERATIONS <= 20000 else 0)
@pytest.mark.parametrize("life", LIVES)
def test_every_operation_does_what_the_model_says(cluster: Cluster, life: int) -> None:
    operations = OPERATIONS // len(LIVES)
    sys.stdout.write(f"COORDINATOR_TEST_SEED={SEED} COORDINATOR_TEST_OPERATIONS={OPERATIONS}\n")
    began = time.monotonic()

    lived = uvloop.run(live(cluster, f"{SEED}, life {life}", operations))

    took = time.monotonic() - began
    sys.stdout.write(f"{operations} operations in {took:.1f} s, {operations / took:.0f}/s\n")
    assert EVERYTHING - {met.rpartition(": ")[2] for met in lived.met} == set()


def test_the_same_seed_repeats_a_life(cluster: Cluster) -> None:
    """Else a failure could not be looked at again."""
    first, second = (uvloop.run(live(cluster, "the same", 1500)) for _ in range(2))

    assert first.met == second.met
    assert first.ledger.model.agents == second.ledger.model.agents
    assert _states(first) == _states(second)


async def live(cluster: Cluster, seed: str, operations: int) -> Driver:
    """Do so many operations on a database of their own."""
    async with cluster.database() as database, driver(database, seed) as life:
        await life.run(operations)
        return life


def _states(life: Driver) -> list[object]:
    return list(life.ledger.model.handoffs.values())
