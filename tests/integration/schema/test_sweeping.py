"""What the leader looks at, and the sweeps beside others who hold locks."""

from datetime import timedelta

import pytest

from tests.integration.schema.world import Life, World
from tests.support.postgres import Database

# --- what the leader looks at -----------------------------------------------------------------


async def look(world: World) -> dict[str, object]:
    """What there is to sweep."""
    leader = await world.value(
        "update coordination.leadership set term = 7, leader = gen_random_uuid() returning leader"
    )
    given: dict[str, object] = {
        "term": 7,
        "leader": leader,
        "stale_after": timedelta(seconds=45),
        "take_back_after": timedelta(seconds=120),
        "accept_timeout": timedelta(seconds=30),
        "cancel_grace": timedelta(seconds=30),
    }
    [row] = await world.run("look", **given)
    return {key: value for key, value in dict(row).items() if key != "now"}


async def test_a_look_at_a_quiet_house_finds_nothing(world: World) -> None:
    await world.agent()

    found = await look(world)

    assert found.pop("agents") == 1
    assert not any(found.values())


@pytest.mark.parametrize(
    ("flag", "column", "ago"),
    [
        ("overdue", "deadline_at", 1),
        ("timed_out", "attempt_ends_at", 1),
        ("unaccepted", "dispatched_at", 16),
        ("to_cancel", "cancel_requested_at", 31),
    ],
)
async def test_a_look_finds_what_there_is_to_sweep(
    world: World, flag: str, column: str, ago: int
) -> None:
    ada = await world.agent()
    handoff = await world.held(ada, accepted=flag != "unaccepted")
    if flag == "to_cancel":
        await world.cancel(handoff)
    assert not (await look(world))[flag]

    await world.age(handoff, column, timedelta(seconds=ago))

    assert (await look(world))[flag]


async def test_a_look_counts_the_silent(world: World) -> None:
    ada = await world.agent("ada")
    await world.held(ada)
    await world.agent("bob", last_seen_ago=timedelta(seconds=46))
    await world.age_heartbeat("ada", timedelta(seconds=121))

    found = await look(world)

    assert (found["agents"], found["stale"], found["lapsed"]) == (2, 2, 1)


async def test_a_look_after_another_daemon_took_over_answers_with_no_row(world: World) -> None:
    await world.execute("update coordination.leadership set term = 8")
    given: dict[str, object] = {
        "term": 7,
        "leader": Life("x", None).incarnation,
        "stale_after": timedelta(seconds=45),
        "take_back_after": timedelta(seconds=120),
        "accept_timeout": timedelta(seconds=30),
        "cancel_grace": timedelta(seconds=30),
    }

    assert await world.run("look", **given) == []


# --- sweeps beside others ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sweep", "column", "ago"),
    [
        ("end_overdue", "deadline_at", 1),
        ("take_back_timed_out", "attempt_ends_at", 1),
        ("take_back_unaccepted", "dispatched_at", 31),
        ("end_cancelled", "cancel_requested_at", 31),
        ("take_back_lapsed", None, 121),
        ("make_due", "available_at", 1),
        ("block_stale_agents", None, 46),
        ("correct_heartbeats", None, -60),
        ("block_disconnected", None, 0),
        ("take_back_disconnected", None, 0),
    ],
)
@pytest.mark.parametrize("locked", ["handoff", "agent"])
async def test_a_sweep_never_waits_for_a_lock(
    committed: World, database: Database, sweep: str, column: str | None, ago: int, locked: str
) -> None:
    await due_for(committed, sweep, column, timedelta(seconds=ago))
    table = {"handoff": "handoffs", "agent": "agent_status"}[locked]
    async with World.on(database) as other, other.connection.transaction():
        await other.execute(f"select from {table} for no key update")
        await committed.execute("set lock_timeout = '2s'")

        met = await committed.sweep(sweep)

    of_agents = {"block_stale_agents", "block_disconnected", "correct_heartbeats"}
    about = "agent" if sweep in of_agents else "handoff"
    alone = sweep in {"make_due", *of_agents}
    assert met == (1 if alone and locked != about else 0)
    if met == 0:
        assert await committed.sweep(sweep) == 1


async def due_for(world: World, sweep: str, column: str | None, ago: timedelta) -> None:
    """Make one row that a sweep is meant for."""
    ada = await world.agent()
    if sweep == "make_due":
        later = await world.value("select now() + interval '1 hour'")
        handoff = await world.handoff("ada", available_at=later)
    else:
        handoff = await world.held(ada, accepted=sweep != "take_back_unaccepted")
    if sweep == "end_cancelled":
        await world.cancel(handoff)
    if column:
        await world.age(handoff, column, ago)
        return
    # The trigger takes a heartbeat from the future for one of now.
    await world.execute("set session_replication_role = replica")
    await world.age_heartbeat("ada", ago)
    if sweep == "take_back_disconnected":
        await world.execute("update agent_status set status = 'blocked', blocked_reason = 'stale'")
    await world.execute("reset session_replication_role")
