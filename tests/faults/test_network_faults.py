"""Links that are reset, silent, forgetful, slow: the figures, with the daemon's default settings.

Every part is a process on a host of its own. `figure` prints what was measured; `-rP` shows it.
"""

import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import anyio
import pytest
import pytest_asyncio

from coordinator.store.connection import Connection
from coordinator.store.dsn import connect_target
from coordinator.store.hearing import arrives
from coordinator.store.schema_health import ring
from tests.faults.blows.link_cut import WAYS
from tests.faults.seeds import SEED
from tests.integration.schema.world import World
from tests.support.network import AVAILABLE, SILENT, Host, Network, Weather
from tests.support.pooler import PGBOUNCER, pooler
from tests.support.postgres import Cluster, Database
from tests.support.processes import LogLine, RunningProcess, running
from tests.support.remote import PORT, cluster_on, coordinator_on, dsn_by
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not AVAILABLE, reason="needs root, and /dev/net/tun"),
]

AFTER_A_RESET = timedelta(seconds=1)
AFTER_SILENCE = timedelta(seconds=10)
TAKE_OVER = timedelta(seconds=2)
TAKE_OVER_FROM_A_LOST_HOST = timedelta(seconds=15)
CONNECT = timedelta(seconds=5)
"""The time limit of one host, by default."""
A_BIT = timedelta(seconds=3)
"""For a process to begin, and to do what it is there for."""
IN_THE_END = timedelta(seconds=40)
"""How long a test waits for what a figure then judges."""

SLOW = Weather(loss=0.05, delay_s=0.1, jitter_s=0.02)
LOSSY = Weather(loss=0.05)

QUICK_SILENCE = {
    "COORDINATOR_HEARTBEAT_INTERVAL": "1s",
    "COORDINATOR_STALE_AFTER": "3s",
    "COORDINATOR_TAKE_BACK_AFTER": "5s",
    "COORDINATOR_SWEEP_INTERVAL": "500ms",
}
ROOT = Path(__file__).parents[2]
CHANCE = random.Random(SEED)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """The wires between all hosts of this module."""
    with Network.built(CHANCE) as network:
        yield network


@pytest.fixture(scope="module")
def server_host(network: Network) -> Host:
    """Where the server is."""
    return network.host()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def remote_cluster(server_host: Host) -> AsyncIterator[Cluster]:
    """The server."""
    async with cluster_on(server_host) as cluster:
        yield cluster


@pytest.fixture
async def database(remote_cluster: Cluster) -> AsyncIterator[Database]:
    """A database on a server that is reached over the network."""
    async with remote_cluster.database() as database:
        yield database


@pytest.fixture
def dsn(database: Database, server_host: Host) -> str:
    """The way to it over the network; the referee's is a unix socket."""
    return dsn_by(database, server_host)


@pytest.fixture
def host(network: Network) -> Host:
    """A new host, with fine weather."""
    return network.host()


@pytest.fixture
def other_host(network: Network) -> Host:
    """Another one."""
    return network.host()


# --- the leader's links ---------------------------------------------------------------------------


async def test_a_daemon_whose_connections_are_reset_works_again_within_a_second(
    dsn: str, world: World, host: Host
) -> None:
    async with leader_on(host, dsn) as process:
        broken_at = time.time()
        assert host.reset() >= 4

        figure("reset by RST", await works_again(world, process, broken_at), AFTER_A_RESET)


async def test_a_daemon_whose_sessions_are_ended_works_again_within_a_second(
    dsn: str, world: World, host: Host
) -> None:
    async with leader_on(host, dsn) as process:
        broken_at = time.time()
        await world.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name like 'coordinator %'"
        )

        figure("sessions ended", await works_again(world, process, broken_at), AFTER_A_RESET)


async def test_a_daemon_whose_connections_all_went_silent_works_again_within_ten_seconds(
    dsn: str, world: World, host: Host
) -> None:
    async with leader_on(host, dsn) as process:
        await the_leader_has_shown_itself(world)  # the next proof is as far away as it can be
        broken_at = time.time()
        assert len(host.forget()) >= 4

        figure("all links half-open", await works_again(world, process, broken_at), AFTER_SILENCE)


@pytest.mark.parametrize("part", ["listener", "dispatch", "sweep", "tail"])
async def test_a_daemon_one_of_whose_connections_went_silent_works_again_within_ten_seconds(
    dsn: str, world: World, host: Host, part: str
) -> None:
    async with leader_on(host, dsn) as process:
        await the_leader_has_shown_itself(world)
        broken_at = time.time()
        assert len(host.forget(await client_port(world, part))) == 1

        took = await works_again(world, process, broken_at)
        figure(f"{part} link half-open", took, AFTER_SILENCE)


@pytest.mark.parametrize(("way", "sends", "hears"), WAYS, ids=[way for way, *_ in WAYS])
async def test_a_daemon_whose_link_was_cut_for_a_while_works_again_soon_after_it_is_mended(
    dsn: str, world: World, host: Host, way: str, sends: Weather, hears: Weather
) -> None:
    async with leader_on(host, dsn) as process:
        with host.under(sends=sends, hears=hears):
            await process.seen("listener.lost")
            await anyio.sleep(CHANCE.uniform(0, 3))  # the cut itself
        mended_at = time.time()

        figure(f"mended, cut {way}", await works_again(world, process, mended_at), AFTER_SILENCE)


async def test_an_echo_that_comes_late_is_no_proof_of_deafness(
    database: Database, dsn: str, host: Host
) -> None:
    late = Weather(delay_s=2.5)
    with host.entered():
        listener = await Connection.open(connect_target(dsn), application_name="listener")
    stranger = await Connection.open(connect_target(database.dsn), application_name="stranger")
    echo = anyio.Event()
    try:
        await listener.listen("proof", lambda _: echo.set())
        with host.under(hears=late):
            await ring(stranger, "proof")

            assert await arrives(echo, listener)
    finally:
        listener.hang_up()
        await stranger.close()


# --- leader and standby ---------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
async def test_a_standby_on_another_host_takes_over_within_two_seconds(
    dsn: str, world: World, host: Host, other_host: Host, sign: signal.Signals
) -> None:
    async with leader_on(host, dsn) as first, standby_on(other_host, dsn) as second:
        gone_at = time.time()
        first.kill(sign)

        figure(f"leader ended by {sign.name}", await works(world, second, gone_at), TAKE_OVER)


async def test_a_standby_takes_over_from_a_lost_host_which_does_no_harm_when_it_returns(
    dsn: str, world: World, host: Host, other_host: Host
) -> None:
    async with leader_on(host, dsn) as first, standby_on(other_host, dsn) as second:
        await the_leader_has_shown_itself(world)  # it will seem alive as long as it can
        gone_at = time.time()
        with host.under(sends=SILENT, hears=SILENT):
            took = await works(world, second, gone_at)
            figure("leader's host lost", took, TAKE_OVER_FROM_A_LOST_HOST)

        await first.seen("leadership.awaited", within=IN_THE_END)

        handoff_id = await world.handoff("spare")
        await second.seen("handoff.dispatched", handoff_id=str(handoff_id))
        assert not first.logged("handoff.dispatched", handoff_id=str(handoff_id))
        assert not second.logged("leadership.lost")
        assert await world.value("select term from coordination.leadership") == 2


# --- agents ---------------------------------------------------------------------------------------


async def test_an_agent_whose_connection_went_silent_is_back_within_ten_seconds(
    dsn: str, world: World, host: Host, other_host: Host
) -> None:
    async with leader_on(host, dsn), agent_on(other_host, dsn, "ada", beat=10, work=0):
        before = await session_began(world, "agent ada")
        silent_at = time.time()
        assert len(other_host.forget()) == 1

        async def is_back() -> datetime | None:
            began = await session_began(world, "agent ada")
            return began if began != before else None

        back = await eventually(is_back, within=IN_THE_END)
        assert back is not None
        figure("agent's link half-open", back.timestamp() - silent_at, AFTER_SILENCE)


async def test_work_of_a_cut_agent_is_done_by_another_and_its_own_late_word_is_stale(
    dsn: str, world: World, host: Host, other_host: Host, network: Network
) -> None:
    async with (
        leader_on(host, dsn, env=QUICK_SILENCE),
        agent_on(other_host, dsn, "busy", beat=1, work=60) as busy,
        agent_on(other_host, dsn, "brief", beat=1, work=3) as brief,
    ):
        mine, yours = [await world.handoff(name, max_attempts=3) for name in ("worker", "worker")]
        await busy.seen("body.begun")
        await brief.seen("body.begun")
        with other_host.under(sends=SILENT, hears=SILENT):
            async with agent_on(network.host(), dsn, "carl", beat=1, work=0) as carl:
                for handoff_id in (mine, yours):
                    await carl.seen("body.ended", within=IN_THE_END, handoff_id=str(handoff_id))
                    await eventually(partial(is_done, world, handoff_id))
                await brief.seen("body.ended")
        mended_at = time.time()

        stopped = await busy.seen("body.stopped", within=IN_THE_END)
        await busy.seen("lease.lost")
        await brief.seen("lease.lost", within=IN_THE_END)

        figure("a lost body told to stop after", stopped["at"] - mended_at, AFTER_SILENCE)
        for handoff_id in (mine, yours):
            assert (await world.the(handoff_id))["result"] == {"by": "carl"}
            events = await world.events(handoff_id)
            assert events.count("handoff.succeeded") == 1
            assert events.count("handoff.settled_late") == 1


# --- a bad link -----------------------------------------------------------------------------------


async def test_a_slow_and_lossy_link_loses_nothing_and_deposes_nobody(
    dsn: str, world: World, host: Host, other_host: Host, network: Network
) -> None:
    there = network.host()
    async with AsyncExitStack() as running_there:
        begin = running_there.enter_async_context
        first = await begin(leader_on(host, dsn))
        second = await begin(standby_on(other_host, dsn))
        agents = [await begin(agent_on(there, dsn, f"ada{n}", beat=10, work=0)) for n in range(4)]
        for place in (host, other_host, there):
            running_there.enter_context(place.under(sends=SLOW, hears=LOSSY))

        began = time.monotonic()
        handoffs = [await world.handoff("worker") for _ in range(60)]
        for handoff_id in handoffs:
            await eventually(partial(is_done, world, handoff_id), within=IN_THE_END)
        figure("60 handoffs by bad links", time.monotonic() - began, IN_THE_END)
        await anyio.sleep(4)  # a probe of the listener, and several looks of the standby

        assert {(await world.the(handoff_id))["attempt"] for handoff_id in handoffs} == {1}
        assert not first.logged("listener.lost")
        assert not second.logged("leadership.acquired")
        assert not first.logged("agent.blocked")
        assert sum(len(agent.logged("body.ended")) for agent in agents) == len(handoffs)
        assert there.lost > 0


# --- several hosts in a DSN -----------------------------------------------------------------------


async def test_a_silent_first_host_does_not_keep_a_daemon_from_the_second(
    database: Database, world: World, server_host: Host, host: Host, other_host: Host
) -> None:
    with other_host.under(hears=SILENT):
        async with leader_on(host, dsn_by(database, other_host, server_host)) as process:
            began_at = logged_at(await process.seen("daemon.started"))
            took = await works(world, process, began_at)

    figure("daemon ready past a silent host", took, CONNECT + A_BIT)


async def test_a_silent_first_host_does_not_keep_an_agent_from_the_second(
    database: Database, server_host: Host, host: Host, other_host: Host
) -> None:
    with other_host.under(hears=SILENT):
        async with agent_on(
            host, dsn_by(database, other_host, server_host), "ada", beat=10, work=0
        ) as process:
            ready = await process.seen("agent.ready")

    figure("agent ready past a silent host", ready["after_s"], CONNECT + A_BIT)


@pytest.mark.parametrize("command", ["status", "doctor"])
async def test_a_silent_first_host_does_not_keep_a_command_from_the_second(
    database: Database, server_host: Host, host: Host, other_host: Host, command: str
) -> None:
    async def has_tried() -> bool:
        return other_host.lost > 0

    with other_host.under(hears=SILENT):
        way = dsn_by(database, other_host, server_host)
        async with coordinator_on(host, command, dsn=way) as process:
            await eventually(has_tried, within=IN_THE_END)
            began = time.monotonic()
            assert await process.wait() in {0, 3}, str(process)

    figure(f"{command} past a silent host", time.monotonic() - began, CONNECT + A_BIT)


@pytest.mark.skipif(PGBOUNCER is None, reason="apt-get install pgbouncer")
async def test_the_first_host_is_used_again_once_it_answers(
    database: Database, world: World, server_host: Host, host: Host, other_host: Host
) -> None:
    async with pooler(
        database, "session", host=other_host, server=server_host.address
    ) as first_choice:
        way = dsn_by(database, other_host, server_host, ports=(first_choice.port, PORT))
        with other_host.under(hears=SILENT):
            begun = AsyncExitStack()
            process = await begun.enter_async_context(leader_on(host, way))
            assert await came_from(world) == {host.address}
        async with begun:
            host.reset()

            await process.seen("listener.connected", count=2)

            assert await came_from(world) == {other_host.address}


# --- the ways to these parts ----------------------------------------------------------------------


def figure(name: str, seconds: float, limit: timedelta) -> None:
    """Say what was measured; it must be less than the limit."""
    sys.stdout.write(f"figure: {name}: {seconds:.2f} s (limit {limit.total_seconds():g} s)\n")
    assert seconds < limit.total_seconds(), name


@asynccontextmanager
async def leader_on(
    host: Host, dsn: str, env: dict[str, str] | None = None
) -> AsyncIterator[RunningProcess]:
    """A daemon that leads."""
    async with coordinator_on(host, "run", dsn=dsn, env=env) as process:
        await process.seen("daemon.ready", role="leader")
        yield process


@asynccontextmanager
async def standby_on(host: Host, dsn: str) -> AsyncIterator[RunningProcess]:
    """A daemon that stands by."""
    async with coordinator_on(host, "run", dsn=dsn) as process:
        await process.seen("daemon.ready", role="standby")
        yield process


@asynccontextmanager
async def agent_on(
    host: Host, dsn: str, name: str, *, beat: float, work: float
) -> AsyncIterator[RunningProcess]:
    """An agent of the SDK that has registered."""
    program = [sys.executable, "-m", "tests.faults.telling_agent"]
    command = host.inside(*program, dsn, name, str(beat), str(work))
    async with running(command, cwd=ROOT) as process:
        await process.seen("agent.ready")
        yield process


async def works_again(world: World, process: RunningProcess, since: float) -> float:
    """Seconds from a moment until this daemon hears again, and what is sent is dispatched."""
    line = await process.seen("listener.connected", within=IN_THE_END, count=2)
    return max(logged_at(line) - since, await dispatched_after(world, since))


async def works(world: World, process: RunningProcess, since: float) -> float:
    """Seconds from a moment until this daemon, which stood by, leads and dispatches."""
    line = await process.seen("listener.connected", within=IN_THE_END)
    return max(logged_at(line) - since, await dispatched_after(world, since))


async def dispatched_after(world: World, since: float) -> float:
    """Seconds from a moment until a handoff sent now was given to an agent."""
    await world.agent("ada")
    await world.agent("spare")
    handoff_id = await world.handoff("ada")

    async def given() -> datetime | None:
        at: datetime | None = (await world.the(handoff_id))["dispatched_at"]
        return at

    dispatched_at = await eventually(given, within=IN_THE_END)
    assert dispatched_at is not None
    return dispatched_at.timestamp() - since


async def the_leader_has_shown_itself(world: World) -> None:
    """Return just after the leader has renewed its reign, and so told its own listener."""
    await changes(world, "select renewed_at from coordination.leadership")


async def changes(world: World, question: str) -> None:
    """Return as soon as this has another answer than now."""
    before = await world.value(question)

    async def has_changed() -> bool:
        return bool(await world.value(question) != before)

    await eventually(has_changed)


async def client_port(world: World, part: str) -> int:
    """The port on the daemon's host that one of its connections comes from."""
    return int(
        await world.value(
            "select client_port from pg_stat_activity where datname = current_database()"
            " and application_name = 'coordinator ' || $1",
            part,
        )
    )


async def came_from(world: World) -> set[str]:
    """The addresses that the daemon's sessions come from."""
    rows = await world.rows(
        "select host(client_addr) from pg_stat_activity where datname = current_database()"
        " and application_name like 'coordinator %'"
    )
    return {row[0] for row in rows}


async def session_began(world: World, application: str) -> datetime | None:
    """When the newest session of an application began."""
    at: datetime | None = await world.value(
        "select max(backend_start) from pg_stat_activity where datname = current_database()"
        " and application_name = $1",
        application,
    )
    return at


async def is_done(world: World, handoff_id: UUID) -> bool:
    return await world.state(handoff_id) == ("completed", "succeeded")


def logged_at(line: LogLine) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()
