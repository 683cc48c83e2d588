"""Two and more connections at once: races, lock order, and clients with stricter isolation."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from tests.integration.schema.world import Life, World, refused
from tests.support.postgres import Database

PLAIN = "coordinator_plain_agent"
HELD = 40


@pytest.fixture
async def other(database: Database) -> AsyncIterator[World]:
    """A second connection."""
    async with World.on(database) as world:
        yield world


# --- races ------------------------------------------------------------------------------------


async def test_a_cancel_and_an_accept_at_once_agree(committed: World, other: World) -> None:
    ada = await committed.agent()
    handoff = await committed.held(ada)
    async with committed.connection.transaction():
        await committed.cancel(handoff)
        accept = other.later(other.accept(handoff, 1, ada))
        await committed.wait_until_blocked(other)

    with refused("ZH001"):
        await accept
    assert await committed.state(handoff) == ("completed", "cancelled")


async def test_an_accept_and_a_cancel_at_once_agree(committed: World, other: World) -> None:
    ada = await committed.agent()
    handoff = await committed.held(ada)
    async with committed.connection.transaction():
        await committed.accept(handoff, 1, ada)
        cancel = other.later(other.cancel(handoff))
        await committed.wait_until_blocked(other)

    assert await cancel == "requested"
    assert await committed.state(handoff) == ("in_progress", None)


async def test_two_completions_at_once_are_applied_once(committed: World, other: World) -> None:
    ada = await committed.agent()
    handoff = await committed.held(ada)
    async with committed.connection.transaction():
        first = await committed.complete(handoff, 1, ada, {"n": 1})
        second = other.later(other.complete(handoff, 1, ada, {"n": 2}))
        await committed.wait_until_blocked(other)

    assert (first, await second) == ("applied", "repeated")
    assert (await committed.the(handoff))["result"] == {"n": 1}


async def test_a_take_back_and_a_completion_at_once_agree(committed: World, other: World) -> None:
    ada = await committed.agent()
    handoff = await committed.held(ada)
    await committed.age_heartbeat("ada", timedelta(minutes=3))
    async with committed.connection.transaction():
        assert await committed.sweep("take_back_lapsed") == 1
        late = other.later(other.complete(handoff, 1, ada))
        await committed.wait_until_blocked(other)

    assert await late == "stale"
    assert await committed.state(handoff) == ("pending", None)


async def test_a_completion_goes_before_a_sweep_that_meets_it(
    committed: World, other: World
) -> None:
    ada = await committed.agent()
    handoff = await committed.held(ada)
    await committed.age_heartbeat("ada", timedelta(minutes=3))
    async with committed.connection.transaction():
        await committed.complete(handoff, 1, ada)

        assert await other.sweep("take_back_lapsed") == 0

    assert await committed.state(handoff) == ("completed", "succeeded")


async def test_a_heartbeat_that_comes_before_the_verdict_spares_the_agent(
    committed: World, other: World
) -> None:
    ada = await committed.agent(last_seen_ago=timedelta(seconds=46))
    async with committed.connection.transaction():
        await committed.heartbeat(ada)

        assert await other.sweep("block_stale_agents") == 0

    assert await other.sweep("block_stale_agents") == 0


async def test_two_retries_at_once_reopen_once(committed: World, other: World) -> None:
    ada = await committed.agent()
    handoff = await committed.held(ada)
    await committed.complete(handoff, 1, ada)
    async with committed.connection.transaction():
        await committed.retry(handoff)
        second = other.later(other.retry(handoff))
        await committed.wait_until_blocked(other)

    with refused("ZH005"):
        await second
    assert (await committed.the(handoff))["retries"] == 1


async def test_a_dispatch_that_comes_while_an_agent_registers_loses_nothing(
    committed: World, other: World
) -> None:
    await committed.agent("ada")
    handoff = await committed.handoff("ada")
    reborn = Life("ada", uuid4())
    async with committed.connection.transaction():
        await committed.dispatch("ada")
        register = other.later(other.register(reborn))
        await committed.wait_until_blocked(other)

    row = await register
    assert (row["incarnation"], row["current_handoff"]) == (reborn.incarnation, None)
    assert await committed.state(handoff) == ("pending", None)
    assert (await committed.the(handoff))["end_reason"] == "replaced"


async def test_a_dispatch_that_comes_while_an_agent_leaves_is_taken_back(
    committed: World, other: World
) -> None:
    ada = await committed.agent("ada")
    handoff = await committed.handoff("ada")
    async with committed.connection.transaction():
        await committed.dispatch("ada")
        leave = other.later(other.execute("select leave('ada', $1)", ada.incarnation))
        await committed.wait_until_blocked(other)

    await leave
    assert await committed.state(handoff) == ("pending", None)
    assert await committed.shows() == ("blocked", "left")


async def test_an_agent_deleted_while_it_registers_is_there_in_the_end(
    committed: World, other: World
) -> None:
    ada = await committed.agent("ada")
    async with committed.connection.transaction():
        await committed.execute("delete from agent_status")
        register = other.later(other.register(ada))
        await committed.wait_until_blocked(other)

    assert (await register)["agent_name"] == "ada"
    assert await committed.shows() == ("idle", None)


# --- lock order -------------------------------------------------------------------------------


async def test_a_plain_agent_that_says_idle_first_and_completes_then_meets_no_deadlock(
    committed: World, other: World
) -> None:
    pia = await committed.agent("pia", plain=True)
    handoff = await committed.held(pia)
    await committed.age(handoff, "attempt_ends_at", timedelta(seconds=1))
    await other.execute("set lock_timeout = '5s'")
    async with committed.connection.transaction():
        await committed.execute("update agent_status set status = 'idle', last_seen = now()")
        swept = other.later(other.sweep("take_back_timed_out"))
        await asyncio.wait([swept], timeout=0.2)
        await committed.execute("update handoffs set status = 'completed' where id = $1", handoff)

    assert await swept == 0
    assert await committed.state(handoff) == ("completed", "succeeded")


async def test_an_agent_that_registers_waits_for_what_it_holds_first(
    committed: World, other: World
) -> None:
    ada = await committed.agent()
    handoff = await committed.held(ada)
    async with committed.connection.transaction():
        await committed.execute("select from handoffs where id = $1 for update", handoff)
        register = other.later(other.register(Life("ada", uuid4())))
        await committed.wait_until_blocked(other)
        assert await committed.complete(handoff, 1, ada) == "applied"

    assert (await register)["status"] == "idle"


@pytest.mark.parametrize("bystanders", [0, 5000])
async def test_agents_are_locked_in_the_order_of_their_names(
    committed: World, other: World, database: Database, bystanders: int
) -> None:
    """Whoever waits for the first has none of the others; the table's own order is reversed."""
    inc = uuid4()
    names = [f"agent {n:03}" for n in reversed(range(HELD))]
    for name in names:
        await committed.register(Life(name, inc))
        await committed.held(Life(name, inc), accepted=True)
    await committed.execute(
        "insert into agent_status (agent_name)"
        " select 'bystander ' || n from generate_series(1, $1) n",
        bystanders,
    )
    await committed.execute("vacuum analyze agent_status")
    take_back = "select coordination.take_back(array(select id from handoffs), 'lapsed')"
    async with World.on(database) as third, committed.connection.transaction():
        await committed.execute(
            "select from agent_status where agent_name = $1 for no key update", min(names)
        )
        waits = other.later(other.execute(take_back))
        await committed.wait_until_blocked(other)

        free = await third.rows(
            "select agent_name from agent_status where incarnation = $1 for update skip locked", inc
        )

    await waits
    assert {row[0] for row in free} == set(names) - {min(names)}


async def test_a_heartbeat_of_many_does_not_wait_for_one_that_is_locked(
    committed: World, other: World
) -> None:
    inc = uuid4()
    for name in ("ada", "bob", "cleo", "dan"):
        await committed.register(Life(name, inc))
        await committed.age_heartbeat(name, timedelta(minutes=1))
    async with committed.connection.transaction():
        await committed.execute(
            "select from agent_status where agent_name in ('ada', 'cleo') for no key update"
        )

        answered = await other.rows(
            "select agent_name from heartbeat_many('{ada,bob,cleo,dan}', $1)", inc
        )

    assert {row[0] for row in answered} == {"ada", "bob", "cleo", "dan"}
    assert await _heard(committed) == {"bob", "dan"}


async def test_a_heartbeat_of_many_waits_for_one_that_is_about_to_be_free(
    committed: World, other: World
) -> None:
    inc = uuid4()
    for name in ("ada", "bob"):
        await committed.register(Life(name, inc))
        await committed.age_heartbeat(name, timedelta(minutes=1))
    async with committed.connection.transaction():
        await committed.execute(
            "select from agent_status where agent_name = 'ada' for no key update"
        )
        beats = other.later(other.rows("select from heartbeat_many('{ada,bob}', $1)", inc))
        await committed.wait_until_blocked(other)

    await beats
    assert await _heard(committed) == {"ada", "bob"}


async def _heard(world: World) -> set[str]:
    rows = await world.rows(
        "select agent_name from agent_status where last_seen > now() - interval '30 seconds'"
    )
    return {row[0] for row in rows}


async def test_the_lives_of_many_at_once_meet_no_deadlock(
    committed: World, database: Database
) -> None:
    seed = uuid4().int % 10_000
    inc = uuid4()
    lives = [Life(f"agent {n}", inc) for n in reversed(range(8))]
    for life in lives:
        await committed.register(life, roles=["crew"])
    async with AsyncExitStack() as stack:
        worlds = [await stack.enter_async_context(World.on(database)) for _ in range(6)]
        jobs = [
            _beat(worlds[0], lives),
            _dispatch(worlds[1]),
            _sweep(worlds[2]),
            _register(worlds[3], lives, random.Random(seed)),
            _work(worlds[4], lives, random.Random(seed + 1)),
            _work(worlds[5], lives, random.Random(seed + 2)),
        ]
        async with asyncio.timeout(60):
            await asyncio.gather(*jobs)

    assert await broken_rules(committed) == []


ROUNDS = 60


async def _beat(world: World, lives: list[Life]) -> None:
    names = [life.name for life in lives]
    for _ in range(ROUNDS * 4):
        await world.rows("select * from heartbeat_many($1, $2)", names, lives[0].incarnation)


async def _dispatch(world: World) -> None:
    for _ in range(ROUNDS):
        await world.execute(
            "insert into handoffs (from_agent, to_agent, task_description, timeout)"
            " select 'eve', 'crew', 'do it', interval '1 millisecond' from generate_series(1, 4)"
        )
        await world.dispatch("crew")


async def _sweep(world: World) -> None:
    for _ in range(ROUNDS * 2):
        await world.sweep("take_back_timed_out")
        await world.run("block_stale_agents", stale_after=timedelta(milliseconds=1), batch=100)
        await world.run("take_back_lapsed", take_back_after=timedelta(milliseconds=1), batch=100)


async def _register(world: World, lives: list[Life], chance: random.Random) -> None:
    for _ in range(ROUNDS * 2):
        await world.register(chance.choice(lives), roles=["crew"])


async def _work(world: World, lives: list[Life], chance: random.Random) -> None:
    for _ in range(ROUNDS * 3):
        life = chance.choice(lives)
        row = await world.connection.fetchrow(
            "select id, attempt from held_handoff($1, $2)", life.name, life.incarnation
        )
        if row is None:
            continue
        if chance.random() < 0.5:
            await world.complete(row["id"], row["attempt"], life)
        else:
            await world.fail(row["id"], row["attempt"], life)


async def broken_rules(world: World) -> list[str]:
    """Which of the rules between handoffs and agents do not hold."""
    rows = await world.rows(
        """
        select 'held by nobody' as rule from handoffs h
        where h.status = 'in_progress' and not exists (
          select from agent_status a
          where a.agent_name = h.assigned_agent and a.current_handoff = h.id
            and a.status <> 'idle' and a.incarnation is not distinct from h.held_by)
        union all
        select 'holds what is not in progress' from agent_status a
        where a.current_handoff is not null and not exists (
          select from handoffs h
          where h.id = a.current_handoff and h.status = 'in_progress'
            and h.assigned_agent = a.agent_name)
        union all
        select 'dispatches and attempts differ' from handoffs h
        where h.attempt <> (
          select count(*) from coordination_events e
          where e.handoff_id = h.id and e.event = 'handoff.dispatched')
        """
    )
    return [row["rule"] for row in rows]


# --- stricter isolation -----------------------------------------------------------------------


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_a_stricter_client_lives_a_whole_life(committed: World, level: str) -> None:
    await committed.execute(f"set default_transaction_isolation = '{level}'")
    ada = await committed.agent("ada")
    pia = await committed.agent("pia", plain=True)

    first = await committed.held(ada, accepted=True)
    second = await committed.held(pia)
    await committed.heartbeat(ada, first, 1)
    assert await committed.complete(first, 1, ada) == "applied"
    async with committed.connection.transaction():
        await committed.execute("update handoffs set status = 'completed' where id = $1", second)
        await committed.execute("update agent_status set status = 'idle'")
    await committed.register(Life("ada", uuid4()))

    assert await committed.state(second) == ("completed", "succeeded")
    assert await broken_rules(committed) == []


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_a_stricter_client_with_an_old_view_writes_nothing(
    committed: World, other: World, level: str
) -> None:
    ada = await committed.agent("ada")
    handoff = await committed.held(ada)
    await other.execute(f"begin isolation level {level}")
    await other.the(handoff)
    await committed.fail(handoff, 1, ada, retry_in=timedelta(0))
    await committed.dispatch("ada")

    with pytest.raises(asyncpg.SerializationError):
        await other.complete(handoff, 1, ada)
    await other.execute("rollback")

    assert await committed.state(handoff) == ("in_progress", None)
    assert (await committed.the(handoff))["attempt"] == 2


async def test_a_stricter_client_does_not_turn_in_circles_when_it_registers(
    committed: World, other: World
) -> None:
    ada = await committed.agent("ada")
    handoff = await committed.handoff("ada")
    await other.execute("begin isolation level repeatable read")
    await other.the(handoff)
    await committed.dispatch("ada")

    with pytest.raises(asyncpg.SerializationError):
        await other.register(Life(ada.name, uuid4()))
    await other.execute("rollback")

    assert await committed.state(handoff) == ("in_progress", None)
