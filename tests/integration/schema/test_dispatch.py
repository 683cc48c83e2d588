"""The dispatch statement: who gets what, in which order, and what a locked row does to a pass."""

from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest

from tests.integration.schema.world import World
from tests.support.postgres import Database

PLAIN = "coordinator_plain_agent"


async def queue(world: World, count: int, to_agent: str = "reviewer") -> None:
    """Insert handoffs in one statement."""
    await world.execute(
        "insert into handoffs (from_agent, to_agent, task_description)"
        " select 'eve', $2, 'task ' || n from generate_series(1, $1) n",
        count,
        to_agent,
    )


async def crew(world: World, count: int, role: str = "reviewer") -> None:
    """Insert idle agents of one role in one statement."""
    await world.execute(
        "insert into agent_status (agent_name, roles)"
        " select 'agent ' || n, array[$2] from generate_series(1, $1) n",
        count,
        role,
    )


async def holders(world: World) -> Counter[str]:
    """How many handoffs each agent holds."""
    rows = await world.rows("select assigned_agent from handoffs where status = 'in_progress'")
    return Counter(row[0] for row in rows)


async def given(world: World, agent: str = "ada") -> UUID:
    """What an agent holds now."""
    held = (await world.the_agent(agent))["current_handoff"]
    assert isinstance(held, UUID)
    return held


@pytest.mark.matrix
async def test_one_pass_gives_1000_handoffs_to_1000_agents_of_one_role(world: World) -> None:
    await crew(world, 1000)
    await queue(world, 1000)

    assert await world.dispatch("reviewer", batch=1000) == (1000, False)

    held = await holders(world)
    assert (len(held), set(held.values())) == (1000, {1})
    assert (
        await world.value(
            "select count(*) from agent_status a join handoffs h"
            " on h.id = a.current_handoff and h.assigned_agent = a.agent_name"
            " where a.status = 'working'"
        )
        == 1000
    )


@pytest.mark.matrix
async def test_two_dispatchers_at_once_neither_double_nor_lose(
    committed: World, database: Database
) -> None:
    await crew(committed, 1000)
    await queue(committed, 1000)
    async with World.on(database) as other:
        await committed.execute("begin")
        await other.execute("begin")
        first, _ = await committed.dispatch("reviewer", batch=600)
        second, _ = await other.dispatch("reviewer", batch=600)
        await committed.execute("commit")
        await other.execute("commit")

    assert (first, second) == (600, 400)
    held = await holders(committed)
    assert (len(held), set(held.values())) == (1000, {1})


async def test_two_dispatchers_at_once_do_not_overtake(
    committed: World, database: Database
) -> None:
    await crew(committed, 10)
    await queue(committed, 20)
    async with World.on(database) as other:
        await committed.execute("begin")
        await committed.dispatch("reviewer", batch=5)
        await other.dispatch("reviewer", batch=5)
        await committed.execute("commit")

    rows = await committed.rows("select status from handoffs order by position")
    assert [row[0] for row in rows] == ["in_progress"] * 10 + ["pending"] * 10


async def test_order_is_priority_then_position(world: World) -> None:
    ada = await world.agent()
    late_urgent = [await world.handoff("ada", priority=p) for p in (0, 5, 0, 5, -1)]
    order = [late_urgent[n] for n in (1, 3, 0, 2, 4)]

    taken = []
    for _ in order:
        await world.dispatch("ada")
        taken.append(await given(world))
        await world.complete(taken[-1], 1, ada)

    assert taken == order


async def test_the_agent_that_was_idle_longest_comes_first(world: World) -> None:
    for name, minutes in (("ada", 1), ("bob", 3), ("cyd", 2)):
        await world.agent(name, roles=["reviewer"])
        await world.execute(
            "update agent_status set status_since = now() - $2::interval where agent_name = $1",
            name,
            timedelta(minutes=minutes),
        )
    await queue(world, 2)

    await world.dispatch("reviewer")

    assert set(await holders(world)) == {"bob", "cyd"}


async def test_an_agent_wanted_at_two_addresses_takes_the_most_urgent(world: World) -> None:
    await world.agent("ada", roles=["reviewer"])
    await world.handoff("ada")
    urgent = await world.handoff("reviewer", priority=9)

    assert await world.dispatch("ada", "reviewer") == (1, False)

    assert await given(world) == urgent


async def test_an_agent_wanted_at_two_addresses_lets_nobody_overtake(world: World) -> None:
    await world.agent("ada", roles=["reviewer"])
    await world.agent("bob", roles=["reviewer"])
    await world.execute(
        "update agent_status set status_since = now() - interval '1 minute'"
        " where agent_name = 'ada'"
    )
    urgent = await world.handoff("ada", priority=9)
    first = await world.handoff("reviewer")
    second = await world.handoff("reviewer")

    await world.dispatch("ada", "reviewer")

    assert (await given(world, "ada"), await given(world, "bob")) == (urgent, first)
    assert await world.state(second) == ("pending", None)


async def test_a_pass_may_be_asked_for_by_the_names_of_agents(world: World) -> None:
    await world.agent("ada", roles=["reviewer"])
    await queue(world, 1, "reviewer")

    assert await world.dispatch(agents=["ada"]) == (1, False)


async def test_a_pass_of_a_term_that_is_over_gives_nothing(world: World) -> None:
    await world.agent("ada")
    await queue(world, 1, "ada")
    await world.execute("update coordination.leadership set term = 7")

    assert await world.dispatch("ada", term=6) == (0, False)
    assert await world.dispatch("ada", term=7) == (1, False)


async def test_a_pass_for_other_addresses_gives_nothing(world: World) -> None:
    await world.agent("ada")
    await queue(world, 1, "ada")

    assert await world.dispatch("bob") == (0, False)


async def test_a_locked_agent_is_skipped_and_the_work_is_left_over(
    committed: World, database: Database
) -> None:
    ada = await committed.agent("ada")
    await committed.handoff("ada")
    async with World.on(database) as other, other.connection.transaction():
        await other.heartbeat(ada)

        assert await committed.dispatch("ada") == (0, True)

    assert await committed.dispatch("ada") == (1, False)


async def test_a_locked_handoff_is_passed_by(committed: World, database: Database) -> None:
    await committed.agent("ada")
    first = await committed.handoff("ada")
    second = await committed.handoff("ada")
    async with World.on(database) as other, other.connection.transaction():
        await other.execute("select from handoffs where id = $1 for update", first)

        assert (await committed.dispatch("ada"))[0] == 1

    assert await given(committed) == second


@pytest.mark.parametrize("ago", [45, 46, 3600])
async def test_a_stale_agent_is_never_picked(world: World, ago: int) -> None:
    await world.agent("ada", last_seen_ago=timedelta(seconds=ago))
    await queue(world, 1, "ada")

    assert await world.dispatch("ada") == (0, False)


async def test_a_fresh_agent_is_picked(world: World) -> None:
    await world.agent("ada", last_seen_ago=timedelta(seconds=44))
    await queue(world, 1, "ada")

    assert await world.dispatch("ada") == (1, False)


@pytest.mark.parametrize("status", ["working", "blocked"])
async def test_an_agent_that_is_not_idle_is_never_picked(world: World, status: str) -> None:
    await world.say(await world.agent("ada"), status)
    await queue(world, 1, "ada")

    assert await world.dispatch("ada") == (0, False)


async def test_work_not_yet_due_is_not_given(world: World) -> None:
    await world.agent("ada")
    later = await world.value("select now() + interval '1 hour'")
    await world.handoff("ada", available_at=later)

    assert await world.dispatch("ada") == (0, False)


async def test_a_backlog_of_one_never_delays_another(world: World) -> None:
    await world.agent("ada")
    await world.agent("bob")
    await queue(world, 5000, "bob")
    last = await world.handoff("ada")

    assert await world.dispatch("ada", "bob", batch=10) == (2, False)

    assert await given(world, "ada") == last


async def test_more_work_than_agents_leaves_nothing_over(world: World) -> None:
    await crew(world, 3)
    await queue(world, 10)

    assert await world.dispatch("reviewer") == (3, False)


async def test_a_pass_at_its_limit_gives_the_first_of_the_queue(world: World) -> None:
    """Its count says that there may be more: the daemon runs it again."""
    await crew(world, 10)
    await queue(world, 20)

    assert (await world.dispatch("reviewer", batch=5))[0] == 5

    rows = await world.rows("select status from handoffs order by position limit 6")
    assert [row[0] for row in rows] == ["in_progress"] * 5 + ["pending"]


async def test_a_plain_agents_status_alone_is_not_believed(world: World) -> None:
    pia = await world.agent("pia", plain=True)
    handoff = await world.held(pia)
    async with world.role(PLAIN):
        await world.execute("update agent_status set status = 'idle'")
    await queue(world, 1, "pia")

    assert await world.dispatch("pia") == (0, False)

    assert await given(world, "pia") == handoff


async def test_each_dispatch_counts_the_attempt(world: World) -> None:
    ada = await world.agent("ada")
    handoff = await world.held(ada)
    await world.fail(handoff, 1, ada, retry_in=timedelta(0))

    await world.dispatch("ada")

    row = await world.the(handoff)
    assert (row["attempt"], row["held_by"], row["end_reason"]) == (2, ada.incarnation, None)


async def test_a_dispatched_handoff_carries_the_life_that_it_was_given_to(world: World) -> None:
    ada = await world.agent("ada")
    pia = await world.agent("pia", plain=True)

    first, second = await world.held(ada), await world.held(pia)

    assert (await world.the(first))["held_by"] == ada.incarnation
    assert (await world.the(second))["held_by"] is None


async def test_the_longest_possible_time_limit_stops_no_pass(world: World) -> None:
    await world.agent("pia", plain=True)
    await world.handoff("pia", timeout=timedelta(days=3600))

    assert await world.dispatch("pia") == (1, False)


# --- the scan ---------------------------------------------------------------------------------


async def scan(world: World) -> tuple[list[str], bool]:
    """The addresses with due work, and whether there is delayed work."""
    [row] = await world.run("scan")
    return row["addresses"], row["next_due"] is not None


async def test_a_scan_finds_the_addresses_with_due_work(world: World) -> None:
    await queue(world, 50, "bob")
    await queue(world, 50, "ada")

    assert await scan(world) == (["ada", "bob"], False)


async def test_a_scan_of_an_empty_queue_finds_nothing(world: World) -> None:
    assert await scan(world) == ([], False)


async def test_a_scan_finds_the_next_due_time(world: World) -> None:
    times = [
        await world.value("select now() + make_interval(mins => $1)", minutes) for minutes in (9, 5)
    ]
    for moment in times:
        await world.handoff("ada", available_at=moment)

    [row] = await world.run("scan")

    assert (row["addresses"], row["next_due"]) == ([], times[1])
    assert 299 < row["due_in_s"] <= 300
