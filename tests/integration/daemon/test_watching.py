"""A process that ends loses its work within seconds; nobody else does, whatever its connection."""

import signal
import sys
import time
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import anyio
import pytest

from coordinator.agents import AgentHost
from tests.integration.daemon.daemons import leader
from tests.integration.schema.world import World
from tests.support.postgres import Database
from tests.support.processes import RunningProcess, running
from tests.support.waiting import eventually

PROGRAM = Path(__file__).parents[2] / "faults" / "telling_agent.py"
LONG_S, SHORT_S = 60.0, 0.01
BY_DEFAULT = timedelta(seconds=6)
QUICK = "300ms"
WELL_PAST_S = 1.6
"""Three looks after the end of a quick grace."""


async def test_by_default_what_a_killed_process_held_is_accepted_by_another_within_six_seconds(
    database: Database, world: World
) -> None:
    async with leader(database) as daemon, telling(database, "ada", LONG_S) as ada:
        handoff_id = await world.handoff("worker")
        await ada.seen("body.begun", handoff_id=str(handoff_id), attempt=1)
        async with telling(database, "bob", SHORT_S):
            await daemon.seen("agent.registered", agent="bob")
            await anyio.sleep(1)  # seen by a look

            ada.kill()
            killed_at = time.monotonic()

            await daemon.seen("handoff.accepted", handoff_id=str(handoff_id), attempt=2)
            assert timedelta(seconds=time.monotonic() - killed_at) < BY_DEFAULT
            assert daemon.logged("handoff.taken_back", reason="disconnected")
            assert daemon.logged("agent.blocked", agent="ada", reason="stale")


async def test_a_process_that_stands_still_is_not_gone(database: Database, world: World) -> None:
    async with leader(database, disconnect_grace=QUICK), telling(database, "ada", LONG_S) as ada:
        handoff_id = await world.handoff("worker")
        await ada.seen("body.begun", handoff_id=str(handoff_id), attempt=1)

        ada.kill(signal.SIGSTOP)
        await anyio.sleep(WELL_PAST_S)

        assert await world.state(handoff_id) == ("in_progress", None)
        ada.kill(signal.SIGCONT)


async def test_a_session_that_ends_and_comes_back_changes_nothing(
    database: Database, world: World
) -> None:
    async with (
        leader(database, disconnect_grace="3s"),
        AgentHost.connect(database.dsn) as host,
        host.agent("ada") as ada,
    ):
        handoff_id = await world.handoff("ada")
        async with await anext(ada.handoffs()):
            for _ in range(3):
                await end_session(world)
                await eventually(lambda: is_tethered(world, host.incarnation))

        assert await attempts(world, handoff_id) == ["handoff.dispatched", "handoff.accepted"]


async def test_an_agent_without_a_session_of_its_own_is_left_to_its_heartbeats(
    database: Database, world: World
) -> None:
    """By plain SQL, or through PostgREST: every call of it may come by another connection."""
    ada = await world.agent("ada")
    async with leader(database, disconnect_grace=QUICK):
        handoff_id = await world.handoff("ada")
        await eventually(lambda: in_progress(world, handoff_id))
        await world.accept(handoff_id, 1, ada)
        await anyio.sleep(WELL_PAST_S)

        assert await world.state(handoff_id) == ("in_progress", None)


async def test_a_stranger_who_keeps_the_lock_keeps_no_agent_out(
    database: Database, world: World
) -> None:
    async with database.connect() as stranger, AgentHost.connect(database.dsn) as host:
        await stranger.execute(
            "select pg_advisory_lock(x'686f6c64'::integer, $1)",
            int.from_bytes(host.incarnation.bytes[:4], signed=True),
        )

        async with host.agent("ada"):
            assert not await is_tethered(world, host.incarnation)


async def test_all_agents_of_a_process_lose_their_work_with_it_and_no_other_does(
    database: Database, world: World
) -> None:
    async with (
        leader(database, disconnect_grace=QUICK) as daemon,
        AgentHost.connect(database.dsn) as living,
        living.agent("cleo") as cleo,
    ):
        async with telling(database, "ada", LONG_S) as ada, telling(database, "bob", LONG_S) as bob:
            for name, agent in (("ada", ada), ("bob", bob)):
                handoff_id = await world.handoff(name)
                await agent.seen("body.begun", handoff_id=str(handoff_id))
            kept = await world.handoff("cleo")
            await anext(cleo.handoffs())
            await anyio.sleep(1)  # seen by a look; before, nobody knows that it was ever there

            ada.kill()
            bob.kill()

            await daemon.seen("handoff.taken_back", reason="disconnected", count=2)
        assert await world.state(kept) == ("in_progress", None)


@pytest.mark.matrix
@pytest.mark.parametrize("first", ["00000000", "7fffffff", "80000000", "ffffffff"])
async def test_a_tether_is_known_by_the_first_digits_of_its_incarnation(
    world: World, first: str
) -> None:
    incarnation = UUID(f"{first}-0000-4000-8000-000000000000")
    await world.run("agent_tether", incarnation=incarnation)
    await world.agent("ada")
    await world.execute("update agent_status set incarnation = $1", incarnation)
    await world.handoff("ada")
    await world.dispatch("ada")

    [row] = await world.run("tethers")

    assert (row["id"], row["tethered"], row["holds"]) == (int(first, 16), True, incarnation)


async def test_who_has_come_back_or_is_heard_again_is_spared(world: World) -> None:
    """Between the look and the verdict."""
    incarnation = uuid4()
    await world.execute("select from register_agent('ada', $1)", incarnation)
    handoff_id = await world.handoff("ada")
    await world.dispatch("ada")
    gone: dict[str, object] = {"incarnations": [incarnation], "batch": 10}
    await world.run("agent_tether", incarnation=incarnation)

    assert [tuple(row) for row in await world.run("block_disconnected", **gone)] == [(0,)]
    assert [tuple(row) for row in await world.run("take_back_disconnected", **gone)] == [(0,)]

    await world.execute("select pg_advisory_unlock_all()")
    assert [tuple(row) for row in await world.run("block_disconnected", **gone)] == [(1,)]
    await world.execute("select from heartbeat('ada', $1)", incarnation)
    assert [tuple(row) for row in await world.run("take_back_disconnected", **gone)] == [(0,)]
    assert await world.state(handoff_id) == ("in_progress", None)


# --- acts and looks -------------------------------------------------------------------------------


def telling(
    database: Database, name: str, work_s: float
) -> AbstractAsyncContextManager[RunningProcess]:
    """An agent in a process of its own, of the role `worker`, that tells what it lives through."""
    return running(
        [sys.executable, PROGRAM, database.dsn, name, "10", str(work_s)], cwd=PROGRAM.parents[2]
    )


async def is_tethered(world: World, incarnation: UUID) -> bool:
    """Whether a session holds the tether of a process."""
    number = int(str(incarnation)[:8], 16)
    return any(row["tethered"] and row["id"] == number for row in await world.run("tethers"))


async def is_not_tethered(world: World, incarnation: UUID) -> bool:
    """Whether none does."""
    return not await is_tethered(world, incarnation)


async def end_session(world: World) -> None:
    """End the session of the agents' host; it comes back."""
    await world.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'agent host'"
    )


async def in_progress(world: World, handoff_id: UUID) -> bool:
    """Whether somebody holds it."""
    return await world.state(handoff_id) == ("in_progress", None)


async def attempts(world: World, handoff_id: UUID) -> list[str]:
    """What happened to it between being queued and being completed."""
    rows = await world.rows(
        "select event from coordination_events where handoff_id = $1 order by sequence", handoff_id
    )
    return [row["event"] for row in rows][1:-1]
