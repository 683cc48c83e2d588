"""Primary and standby under Patroni: who leads changes, and nothing is lost, doubled or forgotten.

The configuration is `deploy/patroni.yaml` as it stands; `docs/high-availability.md` has the figures
that these tests print (`-rP`).
"""

import os
import random
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from uuid import UUID

import pytest
import pytest_asyncio

from tests.faults.battle import Battle
from tests.faults.blows.primary_killed import PrimaryKilled
from tests.faults.blows.primary_left_behind import PrimaryLeftBehind
from tests.faults.blows.primary_lost import PrimaryLost
from tests.faults.blows.switchover import Switchover
from tests.faults.field import logged_reigns
from tests.faults.ground import beside, field_of
from tests.faults.resuming import Timed
from tests.faults.seeds import SEED
from tests.integration.daemon.daemons import QUICK_TAIL, daemon, leader
from tests.integration.schema.world import World
from tests.support.node import PASSWORD, Node
from tests.support.patroni import AVAILABLE, TAKEN_OVER_WITHIN, PatroniCluster, patroni_cluster
from tests.support.postgres import Database
from tests.support.processes import RunningProcess, coordinator
from tests.support.waiting import eventually

RUNS = int(os.environ.get("COORDINATOR_TEST_FAILOVERS", "2"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(60 * (RUNS + 3)),
    pytest.mark.skipif(not AVAILABLE, reason="apt-get install patroni etcd-server python3-etcd"),
]

NO_POLL = {"safety_poll": "10m"}
"""What is dispatched soon was rung for, or was looked for after a reconnect."""
DISPATCH_RESUMES_WITHIN_S = 3.0
AGENTS_ARE_BACK_WITHIN_S = 8.0
LEFT_BEHIND_IS_LEFT_WITHIN = timedelta(seconds=10)
AT_ONCE = timedelta(seconds=1)
MANY = 100
"""More than the 32 numbers that a sequence is ahead of its log."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def patroni() -> AsyncIterator[PatroniCluster]:
    """Two nodes, which every test leaves as it found them, but for who leads."""
    async with patroni_cluster() as cluster:
        yield cluster


@pytest.fixture
async def shared(patroni: PatroniCluster) -> AsyncIterator[Database]:
    """A migrated database on both nodes."""
    async with patroni.database() as database:
        yield database


async def test_switchovers_and_killed_servers_lose_nothing(
    patroni: PatroniCluster, shared: Database
) -> None:
    switchover = Timed(Switchover(patroni), patroni)
    killed = Timed(PrimaryKilled(patroni), patroni)
    async with battle_on(shared, "switchovers") as battle:
        await battle.strike_each([switchover], times=RUNS)
        await battle.strike_each([killed], times=RUNS // 2)

        assert await battle.verdict() == []
    for fault in (switchover, killed):
        assert fault.slowest_dispatch_s < DISPATCH_RESUMES_WITHIN_S
        assert fault.slowest_agent_s < AGENTS_ARE_BACK_WITHIN_S


async def test_lost_primaries_lose_nothing(patroni: PatroniCluster, shared: Database) -> None:
    """The second one is the node that took over from the first."""
    lost = Timed(PrimaryLost(patroni), patroni)
    left_behind = Timed(PrimaryLeftBehind(patroni, longest=2 * LEFT_BEHIND_IS_LEFT_WITHIN), patroni)
    async with battle_on(shared, "losses") as battle:
        await battle.strike_each([lost], times=RUNS)
        if await patroni.healthy() is not patroni.nodes[0]:
            await patroni.switchover()  # who is left behind should be the first to be dialled
        await battle.strike_each([left_behind], times=1)

        assert await battle.verdict() == []
    assert lost.slowest_dispatch_s < DISPATCH_RESUMES_WITHIN_S
    assert lost.slowest_agent_s < AGENTS_ARE_BACK_WITHIN_S
    assert timedelta(seconds=left_behind.slowest_dispatch_s) < LEFT_BEHIND_IS_LEFT_WITHIN


async def test_after_a_switchover_one_daemon_leads_and_the_standby_is_asked_nothing(
    patroni: PatroniCluster, shared: Database
) -> None:
    async with World.on(shared) as world:
        await world.execute(f"alter database {shared.name} set log_statement = 'all'")
    standby = patroni.other(await patroni.healthy())
    dsn = patroni.dsn(shared.name, first=standby)
    async with leader(dsn, NO_POLL) as one, daemon(dsn, NO_POLL) as other:
        await other.seen("leadership.awaited")

        await patroni.switchover()
        await eventually(lambda: has_led_again([one, other], term=2))
        await patroni.healthy()

        async with World.on(shared) as world:
            await world.agent("ada")
            handoff_id = await world.handoff("ada")
            await eventually(lambda: is_dispatched(world, handoff_id), within=AT_ONCE)
            assert await leaders(world) == 1
        terms = [reign.term for process in (one, other) for reign in logged_reigns(process)]
        assert sorted(terms) == [1, 2]
    for node in patroni.nodes:
        assert asked(node, shared, while_standby=False), "the log does not tell"
        assert asked(node, shared, while_standby=True) == []


async def test_what_nobody_heard_during_a_switchover_is_found(
    patroni: PatroniCluster, shared: Database
) -> None:
    async with leader(shared, NO_POLL) as one, daemon(shared, NO_POLL) as other:
        await other.seen("leadership.awaited")
        with stopped(one.pid), stopped(other.pid):
            await patroni.switchover()
            async with World.on(shared) as world:
                await world.agent("ada")
                handoff_id = await world.handoff("ada")
                assert await leaders(world) == 0

        async with World.on(shared) as world:
            await eventually(lambda: is_dispatched(world, handoff_id))


async def test_what_asynchronous_replication_loses_does_not_stop_the_log(
    patroni: PatroniCluster, shared: Database
) -> None:
    async with (
        asynchronous(patroni),
        leader(shared, QUICK_TAIL) as one,
        daemon(shared, QUICK_TAIL) as other,
        coordinator("events", "--follow", "--json", env={"DATABASE_URL": shared.dsn}) as reader,
    ):
        await other.seen("leadership.awaited")
        old = await patroni.healthy()
        async with World.on(shared) as world:
            identifier = await system_identifier(world)
            kept = await handed_off(world, MANY)
            await eventually(lambda: is_logged(world))
            last_kept = await last_number(world)
            await eventually(lambda: is_replicated(world))
            with stopped(await walsender(world)):
                gone = await handed_off(world, MANY)
                for process in (one, reader):
                    await process.seen("handoff.queued", handoff_id=str(gone[-1]))
                old.kill()
        with stopped(reader.pid):  # it comes back when there is more than was lost
            try:
                new = patroni.other(old)
                await eventually(new.takes_writes, within=TAKEN_OVER_WITHIN)
                await eventually(lambda: has_led_again([one, other], term=2))
            finally:
                await old.launch()
            async with World.on(shared) as world:
                anew = await handed_off(world, MANY)

        async with World.on(shared) as world:
            await eventually(lambda: is_logged(world))
            assert await system_identifier(world) == identifier
            assert await known(world, [*kept, *gone, *anew]) == {*kept, *anew}
            before, after = (
                reign.numbers
                for process in (one, other)
                for reign in logged_reigns(process)
                if reign.numbers
            )
            assert after == await numbers_behind(world, last_kept)
            assert set(before) & set(after), "no number was given twice: enough was not lost"
            await reader.seen("handoff.queued", handoff_id=str(anew[-1]))
            shown = [line["handoff_id"] for line in reader.logged("handoff.queued")]
            assert shown == [*map(str, kept), *map(str, gone), *map(str, anew)]
            assert not one.logged("tail.reset")
            assert not other.logged("tail.reset")


@asynccontextmanager
async def battle_on(database: Database, name: str) -> AsyncIterator[Battle]:
    """Two daemons and the load, until the end of the block."""
    async with field_of(database, beside(database), random.Random(f"{SEED} {name}")) as field:
        await let_in_all(database)
        yield Battle(field)


async def let_in_all(database: Database) -> None:
    """Give the logins of a load their password: over TCP nobody is trusted without one."""
    async with World.on(database) as world:
        for login in await world.rows(
            "select rolname from pg_roles where rolname like $1", f"%\\_of\\_{database.name}"
        ):
            await world.execute(f"alter role {login['rolname']} password '{PASSWORD}'")


async def has_led_again(daemons: Sequence[RunningProcess], *, term: int) -> bool:
    """Whether one of the daemons has begun this reign, and the others stand by since."""
    leading = [process for process in daemons if process.logged("leadership.acquired", term=term)]
    standing_by = [
        process
        for process in daemons
        if process not in leading and process.lines[-1]["event"] == "leadership.awaited"
    ]
    return len(leading) == 1 and len(leading) + len(standing_by) == len(daemons)


async def leaders(world: World) -> int:
    """How many sessions hold the lock of leadership in this database."""
    return int(
        await world.value(
            "select count(*) from pg_locks where locktype = 'advisory' and granted"
            " and database = (select oid from pg_database where datname = current_database())"
        )
    )


async def is_dispatched(world: World, handoff_id: UUID) -> bool:
    """Whether a handoff was given to its agent."""
    return bool((await world.the(handoff_id))["status"] == "in_progress")


def asked(node: Node, database: Database, *, while_standby: bool) -> list[str]:
    """What a node was asked by daemons in this database, while it was a standby or a primary."""
    found = []
    is_standby = False
    for line in node.log.splitlines():
        if "ready to accept read-only connections" in line:
            is_standby = True
        elif "received promote request" in line:
            is_standby = False
        elif f"@{database.name} coordinator " in line and is_standby is while_standby:
            found.append(line)
    return found


async def handed_off(world: World, count: int) -> list[UUID]:
    """So many handoffs, each in a transaction of its own, to nobody who exists."""
    return [await world.handoff("nobody") for _ in range(count)]


async def known(world: World, handoffs: Sequence[UUID]) -> set[UUID]:
    """Those of the handoffs that exist."""
    rows = await world.rows("select id from handoffs where id = any ($1)", handoffs)
    return {row["id"] for row in rows}


async def is_logged(world: World) -> bool:
    """Whether the daemons' cursor has passed all transitions, and is none of the future."""
    return bool(
        await world.value(
            "select pg_snapshot_xmax(c.seen) <= pg_snapshot_xmax(pg_current_snapshot())"
            " and not exists (select from coordination_events e"
            "   where not pg_visible_in_snapshot(e.xid, c.seen))"
            " from coordination.tail_cursor c"
        )
    )


async def is_replicated(world: World) -> bool:
    """Whether the standby has all that was written."""
    return bool(
        await world.value("select flush_lsn >= pg_current_wal_lsn() from pg_stat_replication")
    )


async def walsender(world: World) -> int:
    """The process that feeds the standby."""
    return int(await world.value("select pid from pg_stat_replication"))


async def last_number(world: World) -> int:
    """The highest number of a transition so far."""
    return int(await world.value("select max(sequence) from coordination_events"))


async def numbers_behind(world: World, number: int) -> list[int]:
    """The numbers of all later transitions, in order."""
    rows = await world.rows(
        "select sequence from coordination_events where sequence > $1 order by sequence", number
    )
    return [row["sequence"] for row in rows]


async def system_identifier(world: World) -> int:
    """What tells one cluster from another, and a standby not from its primary."""
    return int(await world.value("select system_identifier from pg_control_system()"))


@asynccontextmanager
async def asynchronous(cluster: PatroniCluster) -> AsyncIterator[None]:
    """Let no commit wait for the standby, until the end of the block."""
    await cluster.configure(synchronous_mode=False)
    try:
        await cluster.healthy()
        yield
    finally:
        await cluster.configure(synchronous_mode=True)
        await cluster.healthy()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process for the length of the block; it may end meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
