"""An operator sets time limits that nobody can keep: our sessions bring limits of their own."""

import sys
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio
import pytest

from coordinator.core.errors import StoreUnavailable
from coordinator.store.connection import Connection
from coordinator.store.dsn import connect_target
from tests.faults.bare_field import bare_field
from tests.faults.blows.statement_timeouts import StatementTimeouts
from tests.integration.daemon.daemons import leader
from tests.integration.schema.world import World
from tests.support.postgres import Cluster, Database
from tests.support.processes import RunningProcess, running
from tests.support.waiting import eventually

FINISHER = Path(__file__).with_name("finisher.py")
UNBOUND = {"statement_timeout": "0"}
HAS_OUR_LIMIT = "do $$ begin assert current_setting('statement_timeout') <> '1ms'; end $$"
AT_ONCE = 30
TIMES = 10


@pytest.mark.parametrize("limit_ms", [1, pytest.param(50, marks=pytest.mark.slow)])
async def test_under_limits_that_cancel_strangers_statements_daemon_and_agent_work(
    limit_ms: int, database: Database, tmp_path: Path
) -> None:
    lasting = timedelta(seconds=4)
    limits = StatementTimeouts(lasting, lasting, limit_ms, limit_ms)
    async with (
        leader(database) as process,
        running([sys.executable, FINISHER, database.dsn, "ada"]),
        anyio.create_task_group() as faults,
    ):
        await process.seen("agent.registered")
        faults.start_soon(limits.strike, bare_field(database, tmp_path))
        await process.seen("store.restored")

        async with World.on(database, **UNBOUND) as world:
            await succeeds(world, process, "do it")
            await succeeds(world, process, "fail once")
            assert await default_limit(world) == f"{limit_ms}ms"

        await process.seen("store.restored", count=2)
        async with World.on(database) as world:
            assert await default_limit(world) is None
        assert len(process.logged("store.lost")) == 2
        assert not process.logged("pass.failed")


async def test_limits_of_the_daemons_own_role_do_not_bind_it(
    own_cluster: Cluster, own_database: Database
) -> None:
    await own_cluster.admin(
        "drop role if exists the_daemon",
        "create role the_daemon login in role coordinator_daemon",
        "alter role the_daemon set statement_timeout = '1ms'",
        "alter role the_daemon set lock_timeout = '1ms'",
        "alter role the_daemon set idle_in_transaction_session_timeout = '1ms'",
        *(["alter role the_daemon set transaction_timeout = '20ms'"] if is_17(own_cluster) else []),
    )
    async with leader(own_database.dsn_as("the_daemon")) as process:
        async with World.on(own_database) as world:
            await world.agent("ada")
            handoff_id = await world.handoff("ada")
        await process.seen("handoff.dispatched", handoff_id=str(handoff_id))

        assert not process.logged("pass.failed")
        assert not process.logged("store.lost")


async def test_a_session_that_could_not_set_its_own_limits_is_not_used_and_not_left_behind(
    own_cluster: Cluster, own_database: Database
) -> None:
    await own_cluster.admin(f"alter database {own_database.name} set statement_timeout = '1ms'")
    usable = 0

    async def look() -> None:
        nonlocal usable
        # A cancellation of the very statement that ends the limit may come with the next one.
        with suppress(StoreUnavailable):
            connection = await Connection.open(
                connect_target(own_database.dsn), application_name="of ours"
            )
            try:
                await connection.execute(HAS_OUR_LIMIT)
                usable += 1
            finally:
                await connection.close()

    for _ in range(TIMES):
        async with anyio.create_task_group() as looks:
            for _ in range(AT_ONCE):
                looks.start_soon(look)

    async with World.on(own_database, **UNBOUND) as world:
        left = "select exists (select from pg_stat_activity where application_name = 'of ours')"
        await eventually(partial(is_false, world, left))
    assert usable


async def succeeds(world: World, process: RunningProcess, task: str) -> None:
    """Hand something to the agent; it must be done."""
    handoff_id = await world.handoff("ada", task_description=task)
    await process.seen("handoff.succeeded", handoff_id=str(handoff_id))


async def is_false(world: World, question: str) -> bool:
    """Whether the answer is no."""
    return not await world.value(question)


def is_17(cluster: Cluster) -> bool:
    """Whether the server knows a limit for transactions."""
    return cluster.server.binaries.major >= 17


async def default_limit(world: World) -> str | None:
    """What sessions that ask for nothing are bound by, if anything."""
    limit: str | None = await world.value(
        "select split_part(setting, '=', 2) from pg_db_role_setting r, unnest(r.setconfig) setting"
        " where r.setdatabase = (select oid from pg_database where datname = current_database())"
        " and setting like 'statement_timeout=%'"
    )
    return limit
