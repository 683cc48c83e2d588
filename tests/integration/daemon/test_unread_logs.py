"""Nobody reads the log: the daemon works on, says so, and tells everything once somebody does."""

import re
import signal
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest

from tests.integration.daemon.daemons import event_numbers, leader
from tests.integration.daemon.unread import UnreadDaemon, unread_daemon
from tests.integration.schema.world import World
from tests.support.postgres import Database
from tests.support.waiting import eventually

MANY = 100


async def test_work_and_health_go_on_while_nobody_reads_the_log(
    database: Database, world: World
) -> None:
    async with unread_daemon(database) as daemon:
        await make_stuck(daemon, world)

        ada = await world.agent("ada")
        for _ in range(5):
            handoff_id = await world.handoff("ada")
            await eventually(partial(is_held, world, handoff_id))
            await world.complete(handoff_id, 1, ada)

        assert await daemon.asked("/livez") == (200, "ok\n")
        assert await daemon.asked("/readyz") == (200, "ok: leader\n")


async def test_a_log_that_nobody_reads_shows_in_status_and_metrics(
    database: Database, world: World
) -> None:
    async with unread_daemon(database) as daemon:
        assert await is_moving(daemon)
        assert await is_stuck_by_metrics(daemon, False)

        await make_stuck(daemon, world)

        await eventually(lambda: is_stuck_by_metrics(daemon, True))
        daemon.begin_to_read()
        await eventually(lambda: is_moving(daemon))
        await eventually(lambda: is_stuck_by_metrics(daemon, False))


async def test_a_returning_reader_gets_every_transition_in_order(
    database: Database, world: World
) -> None:
    async with unread_daemon(database) as daemon:
        await make_stuck(daemon, world)
        await world.execute("select from register_agent('ada', gen_random_uuid())")
        handoff_id = await world.handoff("ada")
        await eventually(lambda: is_held(world, handoff_id))
        last = await world.value("select max(sequence) from coordination_events")

        daemon.begin_to_read()
        await eventually(lambda: has_told(daemon, last))

        assert daemon.told == list(range(1, last + 1))
        daemon.process.send_signal(signal.SIGTERM)
        assert await daemon.ended() == 0
        assert daemon.lines[-1]["event"] == "daemon.stopped"
        assert daemon.complaints.read_text() == ""


async def test_a_daemon_whose_log_nobody_reads_drains_within_the_grace(
    database: Database, world: World
) -> None:
    async with unread_daemon(database, drain_grace="3s") as daemon:
        await make_stuck(daemon, world)
        daemon.process.send_signal(signal.SIGTERM)

        assert await daemon.ended(within=timedelta(seconds=4)) == 0
        assert daemon.complaints.read_text() == ""

    async with leader(database) as successor:
        last = await world.value("select max(sequence) from coordination_events")
        await successor.seen("handoff.queued", event_number=last)
        # What lay in the pipe was not read: nothing of it counts as told.
        assert event_numbers(successor) == list(range(1, last + 1))


@pytest.mark.slow
async def test_waiting_for_a_reader_is_no_stall(database: Database, world: World) -> None:
    """Restarting the daemon would not bring the reader back."""
    async with unread_daemon(database) as daemon:
        await make_stuck(daemon, world)

        await eventually(lambda: is_stuck(daemon, 12), within=timedelta(seconds=20))

        tail = re.search(r"tail: ([\d.]+) s without", (await daemon.asked("/livez?verbose"))[1])
        assert tail
        assert float(tail[1]) < 6


# --- acts and looks -------------------------------------------------------------------------------


async def make_stuck(daemon: UnreadDaemon, world: World) -> None:
    """Make more transitions than the pipe can hold lines."""
    await world.execute(
        "insert into handoffs (from_agent, to_agent, task_description)"
        " select 'eve', 'nobody', 'do it' from generate_series(1, $1)",
        MANY,
    )
    await eventually(lambda: is_stuck(daemon, 0.2))


async def is_stuck(daemon: UnreadDaemon, for_s: float) -> bool:
    stuck = (await daemon.status())["log_stuck_s"]
    assert isinstance(stuck, float | int)
    return stuck >= for_s


async def is_moving(daemon: UnreadDaemon) -> bool:
    return (await daemon.status())["log_stuck_s"] == 0


async def has_told(daemon: UnreadDaemon, number: int) -> bool:
    return number in daemon.told


async def is_held(world: World, handoff_id: UUID) -> bool:
    return await world.state(handoff_id) == ("in_progress", None)


async def is_stuck_by_metrics(daemon: UnreadDaemon, expected: bool) -> bool:
    _, text = await daemon.asked("/metrics")
    found = re.search(r"^coordinator_log_stuck_seconds (\S+)$", text, re.MULTILINE)
    assert found
    return (float(found[1]) > 0) is expected
