"""In a burst nobody rings, and nothing is overlooked.

Nothing else may find it either: the safety poll is off, and while an amnesty
lasts the daemon scans each second, so its end is waited for where that matters.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from random import Random

import anyio
import asyncpg
import pytest

from tests.integration.daemon.daemons import QUICK_SILENCE, daemon, leader
from tests.integration.schema.world import World
from tests.support.postgres import Connection, Database
from tests.support.waiting import eventually

NEVER = "1h"
SOON = timedelta(seconds=2)
CLIENTS = 8
INSERT = "insert into handoffs (from_agent, to_agent, task_description) values ('eve', $1, 'do it')"


async def test_a_burst_is_dispatched_though_few_of_it_ring(
    database: Database, world: World
) -> None:
    await crew(world, 600)
    async with (
        leader(database, safety_poll=NEVER, hush_above="50"),
        doorbell(database) as rings,
    ):
        async with anyio.create_task_group() as clients:
            for _ in range(CLIENTS):
                clients.start_soon(insert, database, 100)

        await eventually(lambda: held(world, 600), within=timedelta(seconds=20))
        assert len(rings) < 600
        await eventually(lambda: bell(world, 1), within=SOON)


async def test_where_nobody_may_be_hushed_every_commit_rings(
    database: Database, world: World
) -> None:
    await crew(world, 300)
    async with leader(database, safety_poll=NEVER, hush_above="0"), doorbell(database) as rings:
        async with anyio.create_task_group() as clients:
            for _ in range(CLIENTS):
                clients.start_soon(insert, database, 50)

        await eventually(lambda: held(world, 300), within=timedelta(seconds=20))
        assert len(rings) == CLIENTS * 50


async def test_agents_that_became_free_in_a_burst_get_what_waits(
    database: Database, world: World
) -> None:
    await crew(world, 5)
    async with leader(database, safety_poll=NEVER):
        async with in_a_burst(database, world):
            await world.execute(
                "insert into handoffs (from_agent, to_agent, task_description)"
                " select 'eve', 'crew', 'do it' from generate_series(1, 20)"
            )
            for _ in range(20):
                await eventually(lambda: complete_one(world))

        assert await world.value("select count(*) from handoffs where status = 'completed'") == 20


async def test_who_kept_silent_in_a_burst_and_ends_long_after_it_is_served(
    database: Database, world: World
) -> None:
    async with (
        heard(database, world, "ada"),
        leader(database, QUICK_SILENCE, safety_poll=NEVER) as process,
        database.connect() as writer,
    ):
        await process.seen("amnesty.ended")
        async with in_a_burst(database, world):
            await writer.execute("begin")
            await writer.execute(INSERT, "ada")
        await eventually(lambda: bell(world, 1), within=SOON)
        await anyio.sleep(1.5)  # that much later; the daemon looks ever less often

        await writer.execute("commit")

        await eventually(lambda: held(world, 1), within=SOON)


async def test_who_kept_silent_for_a_leader_that_was_killed_is_served_by_the_next(
    database: Database, world: World
) -> None:
    async with (
        heard(database, world, "ada"),
        leader(database, QUICK_SILENCE, safety_poll=NEVER) as first,
        # Which hushes nobody itself, or it would owe for that.
        daemon(database, QUICK_SILENCE, safety_poll=NEVER, hush_above="0") as second,
        database.connect() as writer,
    ):
        await second.seen("daemon.ready", role="standby")
        async with in_a_burst(database, world):
            await writer.execute("begin")
            await writer.execute(INSERT, "ada")
            first.kill()
            await second.seen("leadership.acquired")
        await second.seen("amnesty.ended")
        await anyio.sleep(1.5)  # its last scan comes up to a second later

        await writer.execute("commit")

        await eventually(lambda: held(world, 1), within=SOON)
        assert await bell(world, 1)


async def test_a_delayed_handoff_of_a_burst_is_given_when_it_is_due(
    database: Database, world: World
) -> None:
    await world.agent("ada")
    async with leader(database, safety_poll=NEVER):
        async with in_a_burst(database, world):
            await world.execute(
                "insert into handoffs (from_agent, to_agent, task_description, available_at)"
                " values ('eve', 'ada', 'do it', now() + interval '300 ms')"
            )

        await eventually(lambda: held(world, 1), within=SOON)


@pytest.mark.slow
async def test_no_writer_is_overlooked_whatever_it_does(database: Database, world: World) -> None:
    """Bursts and silences; savepoints, roll-backs, old snapshots, prepared and broken writers."""
    await crew(world, 3000)
    async with leader(database, safety_poll=NEVER, hush_above="50"):
        async with anyio.create_task_group() as writers:
            for seed in range(12):
                writers.start_soon(write_at_random, database, Random(seed), 8.0)

        wanted = await world.value("select count(*) from handoffs where to_agent = 'crew'")
        assert 500 < wanted < 3000
        await eventually(lambda: held(world, wanted), within=SOON)


# --- acts and looks -------------------------------------------------------------------------------


async def crew(world: World, count: int) -> None:
    """Idle agents of one role."""
    await world.execute(
        "select from generate_series(1, $1) n,"
        " register_agent('agent-' || n, gen_random_uuid(), '{crew}')",
        count,
    )


async def insert(database: Database, count: int, to_agent: str = "crew") -> None:
    """Hand off one by one, each in a transaction of its own."""
    async with database.connect() as connection:
        for _ in range(count):
            await connection.execute(INSERT, to_agent)


@asynccontextmanager
async def heard(database: Database, world: World, name: str) -> AsyncIterator[None]:
    """An idle agent that is heard all the time."""
    await world.agent(name)

    async def beat() -> None:
        async with database.connect() as connection:
            while True:
                await connection.execute("update agent_status set last_seen = now()")
                await anyio.sleep(0.1)

    async with anyio.create_task_group() as beating:
        beating.start_soon(beat)
        yield
        beating.cancel_scope.cancel()


@asynccontextmanager
async def doorbell(database: Database) -> AsyncIterator[list[object]]:
    """All that rings for new work."""
    rings: list[object] = []
    async with database.connect() as connection:
        await connection.add_listener("handoffs", lambda *ring: rings.append(ring))
        yield rings


@asynccontextmanager
async def in_a_burst(database: Database, world: World) -> AsyncIterator[None]:
    """Others hand off as fast as they can, to nobody, and nobody need ring any more."""
    async with anyio.create_task_group() as clients:
        for _ in range(CLIENTS):
            clients.start_soon(insert, database, 1_000_000, "nobody")
        await eventually(lambda: bell(world, 2))
        yield
        clients.cancel_scope.cancel()


async def bell(world: World, value: int) -> bool:
    """Whether the bell stands so."""
    return bool(await world.value("select last_value = $1 from coordination.bell", value))


async def held(world: World, count: int) -> bool:
    """Whether so many handoffs are in progress."""
    return bool(
        await world.value("select count(*) = $1 from handoffs where status = 'in_progress'", count)
    )


async def complete_one(world: World) -> bool:
    """Complete a handoff that somebody of the crew holds, if there is one."""
    completed = await world.value(
        "select complete_handoff(h.id, h.attempt, h.assigned_agent, h.held_by) from handoffs h"
        " where h.status = 'in_progress' limit 1"
    )
    return bool(completed == "applied")


async def write_at_random(database: Database, random: Random, seconds: float) -> None:
    """Hand off in all the ways that a transaction can begin, last and end."""
    with anyio.move_on_after(seconds) as scope:
        while not scope.cancel_called:
            async with database.connect() as connection:
                with anyio.CancelScope(shield=True):
                    # It was ended, or rang and may not be prepared.
                    with suppress(asyncpg.PostgresError):
                        await write(connection, random)
            if random.random() < 0.1:
                await anyio.sleep(random.uniform(0.1, 0.6))


async def write(connection: Connection, random: Random) -> None:
    """Do one of them."""
    isolation = random.choice(["read committed", "repeatable read", "serializable"])
    await connection.execute(f"begin isolation level {isolation}")
    if random.random() < 0.3:
        await connection.fetchval("select count(*) from coordination_settings")
        await anyio.sleep(random.uniform(0, 0.02))
    for nth in range(random.randint(1, 4)):
        await connection.execute(f"savepoint s{nth}")
        await connection.execute(INSERT, "crew")
        if random.random() < 0.2:
            await connection.execute(f"rollback to savepoint s{nth}")
    if random.random() < 0.3:
        await anyio.sleep(random.choice([0.001, 0.03, 0.3]))
    match random.randint(1, 10):
        case 1:
            await connection.execute("rollback")
        case 2:
            connection.terminate()
        case 3:
            name = f"p{random.getrandbits(60)}"
            await connection.execute(f"prepare transaction '{name}'")
            await anyio.sleep(random.uniform(0, 0.2))
            await connection.execute(f"commit prepared '{name}'")
        case _:
            await connection.execute("commit")
