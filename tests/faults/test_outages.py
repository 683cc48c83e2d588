"""PostgreSQL goes away and comes back: the daemon waits, returns at once, and condemns nobody."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import anyio

from tests.integration.daemon.beating import beating_agents
from tests.integration.daemon.daemons import QUICK_SILENCE, QUICK_SWEEP, daemon, leader
from tests.integration.schema.world import World
from tests.support.postgres import Cluster, Database

BACK_WITHIN = timedelta(seconds=2)
STALE_AFTER = timedelta(milliseconds=1500)


async def test_an_outage_of_twice_stale_after_makes_no_agent_stale(
    own_cluster: Cluster, own_database: Database
) -> None:
    async with (
        beating_agents(own_database, *(f"agent-{n}" for n in range(100))) as agents,
        leader(own_database, QUICK_SILENCE) as process,
    ):
        await process.seen("amnesty.ended")

        await own_cluster.server.stop()
        await process.seen("store.lost")
        await anyio.sleep(2 * STALE_AFTER.total_seconds())  # the outage itself
        await own_cluster.server.launch()

        await process.seen("amnesty.granted", count=2)
        await process.seen("amnesty.ended", count=2)
        async with World.on(own_database) as world:
            assert await world.value("select count(*) from agent_status where status = 'idle'") == (
                len(agents)
            )
            blocked = "select count(*) from coordination_events where event = 'agent.blocked'"
            assert await world.value(blocked) == 0


async def test_after_the_outage_a_dead_agent_is_found_all_the_same(
    own_cluster: Cluster, own_database: Database
) -> None:
    async with World.on(own_database) as world:
        ada = await world.agent("ada")
        handoff_id = await world.held(ada)
    async with leader(own_database, QUICK_SILENCE) as process:
        await own_cluster.server.stop()
        await process.seen("store.lost")
        await own_cluster.server.launch()

        await process.seen("agent.blocked", agent="ada", reason="stale")
        await process.seen("handoff.taken_back", handoff_id=str(handoff_id), reason="lapsed")


async def test_the_daemon_is_back_two_seconds_after_its_server(
    own_cluster: Cluster, own_database: Database
) -> None:
    async with World.on(own_database) as world:
        await world.agent("ada")
    async with leader(own_database) as process:
        await own_cluster.server.stop()
        await process.seen("store.lost")
        await own_cluster.server.launch()
        up = time.monotonic()

        await process.seen("listener.connected", count=2)

        assert timedelta(seconds=time.monotonic() - up) < BACK_WITHIN
        assert process.logged("listener.lost")
        assert process.logged("leadership.acquired", term=2)
        async with World.on(own_database) as world:
            handoff_id = await world.handoff("ada")
            await process.seen(
                "handoff.dispatched", within=timedelta(seconds=1), handoff_id=str(handoff_id)
            )


async def test_an_outage_is_told_in_one_line_however_long_it_takes(
    own_cluster: Cluster, own_database: Database
) -> None:
    async with leader(own_database) as process:
        for outage in (1, 2):
            await own_cluster.server.stop()
            await process.seen("store.lost", count=outage)
            await anyio.sleep(1)  # the outage itself
            await own_cluster.server.launch()
            await process.seen("store.restored", count=outage)
            await process.seen("listener.connected", count=outage + 1)

        for event in ("store.lost", "store.restored", "listener.lost", "leadership.lost"):
            assert len(process.logged(event)) == 2, event
        assert len(process.logged("listener.connected")) == 3


async def test_a_killed_server_loses_nothing(own_cluster: Cluster, own_database: Database) -> None:
    async with World.on(own_database) as world:
        await world.agent("ada")
        handoff_id = await world.handoff("bob")
    async with leader(own_database) as process:
        await process.seen("handoff.queued", handoff_id=str(handoff_id))
        assert own_cluster.server.pid
        os.kill(own_cluster.server.pid, signal.SIGKILL)
        await process.seen("store.lost")
        await own_cluster.server.stop()
        await own_cluster.server.launch()
        await process.seen("store.restored")

        async with World.on(own_database) as world:
            await world.agent("bob")
            await process.seen("handoff.dispatched", handoff_id=str(handoff_id))


async def test_a_deadline_that_passed_during_the_outage_knows_no_amnesty(
    own_cluster: Cluster, own_database: Database
) -> None:
    async with leader(own_database, QUICK_SWEEP) as process:
        async with World.on(own_database) as world:
            await world.execute(
                "insert into handoffs (from_agent, to_agent, task_description, deadline_at)"
                " values ('eve', 'nobody', 'do it', now() + interval '1500 ms')"
            )
        await own_cluster.server.stop()
        await process.seen("store.lost")
        await anyio.sleep(1.5)  # the outage itself
        await own_cluster.server.launch()

        await process.seen("handoff.failed", reason="deadline", within=timedelta(seconds=3))

        assert len(process.logged("amnesty.granted")) == 2
        assert not process.logged("amnesty.ended")


async def test_a_daemon_started_before_its_server_waits_for_it(
    own_cluster: Cluster, own_database: Database
) -> None:
    await own_cluster.server.stop()
    async with daemon(own_database) as process:
        await process.seen("store.lost")
        await own_cluster.server.launch()

        await process.seen("daemon.ready", role="leader", within=timedelta(seconds=5))


async def test_sigterm_ends_a_daemon_whose_database_is_gone_with_exit_code_0(
    own_cluster: Cluster, own_database: Database
) -> None:
    async with leader(own_database) as process:
        await own_cluster.server.stop()
        await process.seen("store.lost")

        process.kill(signal.SIGTERM)

        assert await process.wait(within=timedelta(seconds=3)) == 0


async def test_sigterm_ends_a_daemon_whose_database_is_frozen_within_the_grace(
    own_cluster: Cluster, own_database: Database
) -> None:
    async with leader(own_database, QUICK_SWEEP, drain_grace="1s") as process:
        with frozen(own_cluster):
            process.kill(signal.SIGTERM)

            assert await process.wait(within=timedelta(seconds=8)) == 0


async def test_a_frozen_database_is_left_and_found_again(
    own_cluster: Cluster, own_database: Database
) -> None:
    async with World.on(own_database) as world:
        await world.agent("ada")
    async with leader(own_database, listener_probe="200ms") as process:
        with frozen(own_cluster):
            await process.seen("listener.lost", within=timedelta(seconds=12))

        await process.seen("listener.connected", count=2)
        async with World.on(own_database) as world:
            handoff_id = await world.handoff("ada")
            await process.seen("handoff.dispatched", handoff_id=str(handoff_id))


async def test_a_database_that_takes_no_connections_for_a_while_is_waited_out(
    own_cluster: Cluster, own_database: Database
) -> None:
    name = own_database.name
    async with leader(own_database) as process:
        await own_cluster.admin(f"alter database {name} allow_connections false", end_all_in(name))
        await process.seen("store.lost")
        await own_cluster.admin(f"alter database {name} allow_connections true")

        await process.seen("store.restored", within=timedelta(seconds=3))


async def test_a_database_that_is_missing_for_a_while_is_waited_out(
    own_cluster: Cluster, own_database: Database
) -> None:
    """As while it is restored under another name."""
    name = own_database.name
    async with leader(own_database) as process:
        await own_cluster.admin(
            f"alter database {name} allow_connections false",
            end_all_in(name),
            f"alter database {name} rename to {name}_away",
        )
        await process.seen("store.lost")
        await anyio.sleep(1)  # the absence itself
        await own_cluster.admin(
            f"alter database {name}_away rename to {name}",
            f"alter database {name} allow_connections true",
        )

        await process.seen("store.restored", within=timedelta(seconds=3))


async def test_a_login_that_is_refused_for_a_while_is_waited_out(
    own_cluster: Cluster, own_database: Database
) -> None:
    """As while a role or its password is changed."""
    await own_cluster.admin(
        "drop role if exists the_daemon", "create role the_daemon login in role coordinator_daemon"
    )
    async with leader(own_database.dsn_as("the_daemon")) as process:
        await own_cluster.admin("alter role the_daemon nologin", end_all_in(own_database.name))
        await process.seen("store.lost")
        await anyio.sleep(1)  # the refusal itself
        await own_cluster.admin("alter role the_daemon login")

        await process.seen("store.restored", within=timedelta(seconds=3))


def end_all_in(database: str) -> str:
    """A statement that ends every session in a database."""
    return (
        "select count(pg_terminate_backend(pid)) from pg_stat_activity"
        f" where datname = '{database}'"
    )


@contextmanager
def frozen(cluster: Cluster) -> Iterator[None]:
    """Stop every process of the server for the length of the block: connected, and silent."""
    assert cluster.server.pid
    stopped = [cluster.server.pid, *children_of(cluster.server.pid)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, and that still run."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]
