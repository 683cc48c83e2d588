"""Anything may be killed at any instant: no handoff is lost, held twice, or completed twice."""

import os
import random
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import anyio
import pytest

from tests.faults.arena import Arena, arena
from tests.faults.audit import broken_chains, faults_of_history, unlogged
from tests.integration.schema.world import World
from tests.support.postgres import Database, migrate, throw_away_server
from tests.support.waiting import eventually

KILLS = int(os.environ.get("COORDINATOR_TEST_KILLS", "30"))
SEED = os.environ.get("COORDINATOR_TEST_SEED") or str(random.SystemRandom().randrange(10**9))
STEPS = 3
"""How many handoffs each chain has."""
LONGEST_CALM_S = 0.8
"""The longest time between two kills."""
PAUSE_S = 0.1
"""Between two new chains."""


@pytest.fixture
async def durable_database() -> AsyncIterator[Database]:
    """A database on a server of its own that keeps what it has confirmed when it is killed."""
    async with throw_away_server(settings={"synchronous_commit": "on"}) as server:
        database = Database("postgres", server)
        async with database.connect() as connection:
            await migrate(connection)
        yield database


@pytest.mark.kills
@pytest.mark.timeout(120 if KILLS <= 100 else 0)
async def test_nothing_is_lost_held_twice_or_completed_twice_whatever_is_killed(
    durable_database: Database,
) -> None:
    sys.stdout.write(f"COORDINATOR_TEST_SEED={SEED} COORDINATOR_TEST_KILLS={KILLS}\n")
    chance = random.Random(SEED)
    async with arena(durable_database, chance, daemons=2, agents=4) as fight:
        sent = await fight_on(fight)
        fight.members[-1].retire()

        await eventually(lambda: fight.ask(all_completed), within=timedelta(seconds=60))

        last = await fight.ask(last_event)
        await eventually(lambda: is_logged(fight, last), within=timedelta(seconds=20))
        assert await fight.ask(faults_of_history) == []
        assert await fight.ask(lambda world: broken_chains(world, sent, steps=STEPS)) == []
        assert await fight.ask(lambda world: unlogged(world, fight.logged)) == []
        sys.stdout.write(f"{len(sent)} chains; killed {dict(fight.killed)}\n")


async def fight_on(fight: Arena) -> list[UUID]:
    """Kill again and again while new chains are begun; return the first handoffs of these."""
    sent: list[UUID] = []
    async with anyio.create_task_group() as senders:
        senders.start_soon(keep_sending, fight, sent)
        while fight.killed.total() < KILLS:
            await anyio.sleep(fight.chance.uniform(0, LONGEST_CALM_S))  # a random instant
            await fight.kill_somebody()
        senders.cancel_scope.cancel()
    return sent


async def keep_sending(fight: Arena, sent: list[UUID]) -> None:
    """Begin a chain again and again, by plain SQL; what was sent is in `sent` before it counts."""
    while True:
        handoff_id = UUID(int=fight.chance.getrandbits(128), version=4)

        async def send(world: World, handoff_id: UUID = handoff_id) -> None:
            await world.execute(
                "insert into handoffs (id, from_agent, to_agent, task_description, context,"
                " max_attempts) values ($1, 'eve', 'worker', 'begin', $2, 1000)"
                " on conflict (id) do nothing",
                handoff_id,
                {"steps": STEPS},
            )

        await fight.ask(send)
        sent.append(handoff_id)
        await anyio.sleep(PAUSE_S)


async def all_completed(world: World) -> bool:
    """Whether nothing waits and nothing is at work."""
    return bool(
        await world.value("select not exists (select from handoffs where status <> 'completed')")
    )


async def last_event(world: World) -> int:
    """The highest number of a transition so far."""
    return int(await world.value("select max(sequence) from coordination_events"))


async def is_logged(fight: Arena, number: int) -> bool:
    """Whether some daemon has logged this transition."""
    return fight.logged[number] > 0
