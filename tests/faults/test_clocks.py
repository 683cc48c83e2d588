"""Clocks are wrong, and are set: only the server's counts, and no verdict comes of a step of it.

What is a moment (a deadline, a delay, the limit of an attempt) moves with the server's clock. What
is a silence does not: after a step nobody is judged before everybody could be heard anew.
"""

import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.faults.bare_field import bare_field
from tests.faults.blows.clock_stepped import ClockStepped
from tests.faults.clock import Clock, a_clock, server_with_a_clock
from tests.integration.daemon.beating import beating_agents
from tests.integration.daemon.daemons import QUICK_SWEEP, daemon, leader
from tests.integration.schema.world import World
from tests.support.postgres import Database, migrate
from tests.support.processes import LogLine, RunningProcess, coordinator, running

pytestmark = pytest.mark.slow

FINISHER = Path(__file__).with_name("finisher.py")
FORWARD, BACK = timedelta(hours=1), -timedelta(hours=1)
FEW = 5
"""Not a crowd, which would get an amnesty for its size alone."""
CALM: Mapping[str, str] = {
    "heartbeat_interval": "1s",
    "stale_after": "3s",
    "take_back_after": "5s",
    "sweep_interval": "100ms",
}
"""Passes that stand still for less than a second, as on a busy machine, are no reason for mercy."""


@pytest.fixture
async def clocked() -> AsyncIterator[tuple[Database, Clock]]:
    """A migrated database on a server whose clock can be set."""
    async with server_with_a_clock() as (server, clock):
        database = Database("postgres", server)
        async with database.connect() as connection:
            await migrate(connection)
        yield database, clock


async def test_a_step_of_the_servers_clock_makes_no_agent_stale_and_stops_no_work(
    clocked: tuple[Database, Clock],
) -> None:
    database, clock = clocked
    async with (
        beating_agents(database, *(f"agent-{n}" for n in range(FEW))),
        leader(database, CALM) as process,
        World.on(database) as world,
    ):
        await process.seen("amnesty.ended")
        for number, ahead in enumerate((FORWARD, BACK, timedelta(0))):
            amnesties = len(process.logged("amnesty.granted"))
            clock.set(ahead=ahead)
            granted = await process.seen("amnesty.granted", count=amnesties + 1)
            assert granted["reason"] == "passes stood still"

            handoff_id = await world.handoff(f"agent-{number}")
            await process.seen("handoff.dispatched", handoff_id=str(handoff_id))
            await process.seen("amnesty.ended", count=amnesties + 1)
        # Nobody accepts here, which is another verdict.
        assert not process.logged("agent.blocked", reason="stale")


@pytest.mark.parametrize("step", [FORWARD, BACK])
async def test_who_dies_at_a_step_of_the_servers_clock_is_found_all_the_same(
    step: timedelta, clocked: tuple[Database, Clock]
) -> None:
    database, clock = clocked
    async with leader(database, CALM) as process, World.on(database) as world:
        ada = await world.agent("ada")
        handoff_id = await world.held(ada, accepted=True)
        clock.set(ahead=step)

        await process.seen("agent.blocked", agent="ada", reason="stale")
        await process.seen("handoff.taken_back", handoff_id=str(handoff_id), reason="lapsed")


async def test_a_leader_that_stops_when_the_servers_clock_is_set_back_is_replaced(
    clocked: tuple[Database, Clock],
) -> None:
    database, clock = clocked
    quick = {"leader_stale_after": "1s", "leader_poll": "100ms", "sweep_interval": "100ms"}
    async with leader(database, quick) as first, daemon(database, quick) as second:
        await second.seen("daemon.ready", role="standby")
        first.kill(signal.SIGSTOP)
        clock.set(ahead=BACK)

        await second.seen("leadership.acquired", term=2)


async def test_a_healthy_leader_is_left_alone_when_the_servers_clock_is_set_forward(
    clocked: tuple[Database, Clock],
) -> None:
    database, clock = clocked
    patient = {"leader_stale_after": "10s", "leader_poll": "100ms", "sweep_interval": "2s"}
    async with leader(database, patient) as first, daemon(database, patient) as second:
        await second.seen("daemon.ready", role="standby")
        for hours in (1, 2, 3):
            clock.set(ahead=timedelta(hours=hours))
            await first.seen("amnesty.granted", count=1 + hours)

        assert not second.logged("leadership.seized")


async def test_deadlines_delays_and_limits_are_moments_of_the_servers_clock(
    clocked: tuple[Database, Clock],
) -> None:
    database, clock = clocked
    in_half_an_hour = "now() + interval '30 min'"
    async with leader(database, QUICK_SWEEP) as process, World.on(database) as world:
        ada = await world.agent("ada")
        limited = await world.handoff("ada", timeout=timedelta(minutes=30))
        await process.seen("handoff.dispatched", handoff_id=str(limited))
        await world.accept(limited, 1, ada)
        overdue, delayed = [await world.handoff("bob") for _ in range(2)]
        await world.execute(
            f"update handoffs set deadline_at = {in_half_an_hour} where id = $1", overdue
        )
        await world.execute(
            f"update handoffs set available_at = {in_half_an_hour}, due = false where id = $1",
            delayed,
        )

        clock.set(ahead=BACK)
        await process.seen("amnesty.granted", count=2)
        assert [await world.state(each) for each in (limited, overdue, delayed)] == [
            ("in_progress", None),
            ("pending", None),
            ("pending", None),
        ]

        clock.set(ahead=FORWARD)
        await process.seen("handoff.failed", handoff_id=str(overdue), reason="deadline")
        await process.seen("handoff.taken_back", handoff_id=str(limited), reason="timed_out")
        await world.agent("bob")
        await process.seen("handoff.dispatched", handoff_id=str(delayed))


@pytest.mark.parametrize("daemon_ahead", [timedelta(hours=5), -timedelta(hours=5)])
async def test_a_daemon_and_an_agent_with_wrong_clocks_work_and_judge_as_ever(
    daemon_ahead: timedelta, database: Database, world: World
) -> None:
    with a_clock() as of_the_daemon, a_clock() as of_the_agent:
        of_the_daemon.set(ahead=daemon_ahead)
        of_the_agent.set(ahead=-daemon_ahead)
        await world.agent("mute")
        async with (
            daemon_by(of_the_daemon, database) as process,
            running([sys.executable, FINISHER, database.dsn, "ada"], env=of_the_agent.environment),
        ):
            blocked = await process.seen("agent.blocked", agent="mute", reason="stale")
            assert hours_ahead(blocked) == daemon_ahead / timedelta(hours=1)
            await finishes(world, process, "do it")

            of_the_daemon.set(ahead=-daemon_ahead)
            of_the_agent.set(ahead=daemon_ahead)

            await finishes(world, process, "fail once")
            assert len(process.logged("agent.blocked")) == 1
            assert not process.logged("handoff.taken_back")


async def test_the_fault_proves_the_step_that_the_server_saw(
    clocked: tuple[Database, Clock], tmp_path: Path
) -> None:
    database, clock = clocked
    short = timedelta(milliseconds=300)
    proof = await ClockStepped(clock, longest=short, shortest=short).strike(
        bare_field(database, tmp_path)
    )

    assert "the server's clock was" in proof


async def finishes(world: World, process: RunningProcess, task: str) -> None:
    """Hand something to ada; it must be done, and told by the database's clock."""
    handoff_id = await world.handoff("ada", task_description=task)
    await process.seen("handoff.succeeded", handoff_id=str(handoff_id))
    assert await world.value(
        "select abs(extract(epoch from clock_timestamp() - finished_at)) < 60 from handoffs"
        " where id = $1",
        handoff_id,
    )


def daemon_by(clock: Clock, database: Database) -> AbstractAsyncContextManager[RunningProcess]:
    """A quick daemon that goes by this clock."""
    chosen = {"health_tcp": "off", "log_format": "json", **CALM}
    variables = {f"COORDINATOR_{name.upper()}": value for name, value in chosen.items()}
    return coordinator("run", env={"DATABASE_URL": database.dsn, **variables, **clock.environment})


def hours_ahead(line: LogLine) -> int:
    """How far the clock of who wrote this line is ahead of the database's."""
    told, happened = [datetime.fromisoformat(line[key]) for key in ("timestamp", "occurred_at")]
    return round((told - happened) / timedelta(hours=1))
