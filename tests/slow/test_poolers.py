"""PgBouncer behind the DSN: it serves in session mode, and is refused in transaction mode."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from uuid import UUID

import anyio
import asyncpg
import pytest

from coordinator.agents import Agent, AgentHost, HeldHandoff
from coordinator.core.errors import ConfigError
from tests.integration.daemon.daemons import daemon, leader
from tests.integration.schema.world import World
from tests.support.commands import ended
from tests.support.pooler import PGBOUNCER, Pooler, pooler
from tests.support.postgres import Connection, Database
from tests.support.waiting import eventually

SOON = timedelta(seconds=5)
BACK_WITHIN = timedelta(seconds=10)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PGBOUNCER is None, reason="apt-get install pgbouncer"),
]


async def connect_an_agent(dsn: str) -> None:
    async with Agent.connect(dsn, "ada"):
        pass


async def connect_a_host(dsn: str) -> None:
    async with AgentHost.connect(dsn):
        pass


async def test_a_pooler_in_transaction_mode_is_named_to_the_daemon(database: Database) -> None:
    async with pooler(database, "transaction") as pool, daemon(pool.dsn) as process:
        assert await process.wait(within=timedelta(seconds=30)) == 78

        assert "pooler in transaction mode" in process.stderr
        assert "session mode" in process.stderr


@pytest.mark.parametrize("connect", [connect_an_agent, connect_a_host])
async def test_a_pooler_in_transaction_mode_is_named_to_agents(
    database: Database, connect: Callable[[str], Awaitable[None]]
) -> None:
    async with pooler(database, "transaction") as pool:
        with pytest.raises(ConfigError, match="pooler in transaction mode"):
            await connect(pool.dsn)


async def test_a_pooler_in_transaction_mode_is_named_by_doctor(database: Database) -> None:
    async with pooler(database, "transaction") as pool:
        doctor = await ended("doctor", env={"DATABASE_URL": pool.dsn})

    assert doctor.code != 0
    assert "pooler in transaction mode" in doctor.out + doctor.err


async def test_a_daemon_an_agent_of_the_sdk_and_a_plain_one_work_by_a_pooler_in_session_mode(
    database: Database,
) -> None:
    async with (
        pooler(database, "session") as pool,
        leader(pool.dsn),
        plain_agent(pool, "pia"),
        Agent.connect(pool.dsn, "ada") as ada,
    ):
        with anyio.fail_after(SOON.total_seconds()):
            sent = await ada.hand_off("pia", "look at it")
            answer = await sent.result()

    assert answer.result == {"by": "pia"}


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
async def test_a_pooler_restarted_in_the_midst_of_work_costs_nothing_but_time(
    database: Database, sign: signal.Signals
) -> None:
    async with (
        pooler(database, "session") as pool,
        leader(pool.dsn) as process,
        Agent.connect(pool.dsn, "ada") as ada,
        World.on(database) as world,
        anyio.create_task_group() as tasks,
    ):
        begun, may_end = anyio.Event(), anyio.Event()
        tasks.start_soon(ada.run, partial(work_slowly, begun, may_end))
        first, *others = [await world.handoff("ada") for _ in range(10)]
        await begun.wait()

        await pool.stop(sign)
        await process.seen("listener.lost")
        await pool.launch()
        may_end.set()

        await process.seen("listener.connected", count=2, within=BACK_WITHIN)
        for handoff_id in (first, *others):
            await eventually(partial(is_done, world, handoff_id), within=BACK_WITHIN)
            assert (await world.the(handoff_id))["attempt"] == 1
        tasks.cancel_scope.cancel()


async def work_slowly(
    begun: anyio.Event, may_end: anyio.Event, handoff: HeldHandoff
) -> dict[str, bool]:
    """A body that lasts until it may end."""
    begun.set()
    await may_end.wait()
    return {"done": True}


async def is_done(world: World, handoff_id: UUID) -> bool:
    return await world.state(handoff_id) == ("completed", "succeeded")


@asynccontextmanager
async def plain_agent(pool: Pooler, name: str) -> AsyncIterator[None]:
    """An agent that knows the two tables and its channel; it does one handoff."""
    connection = await asyncpg.connect(pool.dsn)
    rung = anyio.Event()
    try:
        await connection.execute("insert into agent_status (agent_name) values ($1)", name)
        channel = await connection.fetchval("select agent_channel($1)", name)
        await connection.add_listener(channel, lambda *_: rung.set())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(do_one, connection, rung, name)
            yield
    finally:
        connection.terminate()


async def do_one(connection: Connection, rung: anyio.Event, name: str) -> None:
    await rung.wait()
    await connection.execute(
        "update handoffs set status = 'completed', result = jsonb_build_object('by', $1::text)"
        " where assigned_agent = $1 and status = 'in_progress'",
        name,
    )
