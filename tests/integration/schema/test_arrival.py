"""What a handoff may look like when it is inserted: lineage, idempotency, names and sizes."""

from datetime import timedelta
from uuid import uuid4

import pytest

from tests.integration.schema.world import World
from tests.support.postgres import Database

HAND_OFF = "select handoff_id, repeated, warning from hand_off($1, $2, $3, idempotency_key => $4)"


async def test_a_handoff_without_a_parent_is_its_own_root(world: World) -> None:
    handoff = await world.handoff("ada")

    row = await world.the(handoff)
    assert (row["parent_id"], row["root_id"], row["hop"]) == (None, handoff, 0)


async def test_the_parent_is_what_the_sender_holds(world: World) -> None:
    ada = await world.agent("ada")
    held = await world.held(ada)

    child = await world.the(await world.handoff("bob", from_agent="ada"))

    assert (child["parent_id"], child["root_id"], child["hop"]) == (held, held, 1)


async def test_a_named_parent_goes_before_the_held_one(world: World) -> None:
    ada = await world.agent("ada")
    await world.held(ada)
    other = await world.handoff("bob")

    child = await world.the(await world.handoff("bob", from_agent="ada", parent_id=other))

    assert (child["parent_id"], child["root_id"]) == (other, other)


async def test_lineage_is_computed_and_never_taken_from_the_writer(world: World) -> None:
    handoff = await world.handoff("ada", root_id=uuid4(), hop=7)

    row = await world.the(handoff)
    assert (row["root_id"], row["hop"]) == (handoff, 0)


async def test_an_unknown_parent_is_refused(world: World) -> None:
    async with world.refused("ZH008"):
        await world.handoff("ada", parent_id=uuid4())


async def test_a_handoff_is_not_its_own_parent(world: World) -> None:
    own = uuid4()

    async with world.refused("ZH008"):
        await world.handoff("ada", id=own, parent_id=own)


async def test_a_chain_ends_at_the_hop_limit(world: World) -> None:
    await world.execute("update coordination_settings set max_hops = 2")
    first = await world.handoff("ada")
    second = await world.handoff("ada", parent_id=first)
    third = await world.handoff("ada", parent_id=second)

    async with world.refused("ZH007"):
        await world.handoff("ada", parent_id=third)

    assert (await world.the(third))["hop"] == 2


async def test_the_hop_limit_is_32_unless_told(world: World) -> None:
    assert await world.value("select max_hops from coordination_settings") == 32


async def test_a_whole_chain_may_come_in_one_statement(world: World) -> None:
    first, second = uuid4(), uuid4()

    await world.execute(
        "insert into handoffs (id, from_agent, to_agent, task_description, parent_id)"
        " values ($1, 'eve', 'ada', 'one', null), ($2, 'eve', 'bob', 'two', $1)",
        first,
        second,
    )

    row = await world.the(second)
    assert (row["root_id"], row["hop"]) == (first, 1)


async def test_created_at_is_the_databases_clock(world: World) -> None:
    past = await world.value("select now() - interval '1 year'")

    row = await world.the(await world.handoff("ada", created_at=past))

    assert row["created_at"] == await world.value("select now()")


async def test_a_time_to_come_makes_a_handoff_wait_outside_the_queue(world: World) -> None:
    later = await world.value("select now() + interval '1 hour'")

    assert not (await world.the(await world.handoff("ada", available_at=later)))["due"]


# --- idempotency ------------------------------------------------------------------------------


async def test_the_same_key_returns_the_first_handoff(world: World) -> None:
    [first] = await world.rows(HAND_OFF, "eve", "ada", "do it", "k")

    [again] = await world.rows(HAND_OFF, "eve", "ada", "do it", "k")

    assert not first["repeated"]
    assert (again["handoff_id"], again["repeated"]) == (first["handoff_id"], True)


@pytest.mark.parametrize(("to", "task"), [("bob", "do it"), ("ada", "do that")])
async def test_the_same_key_with_other_content_is_refused(world: World, to: str, task: str) -> None:
    await world.rows(HAND_OFF, "eve", "ada", "do it", "k")

    async with world.refused("ZH009"):
        await world.rows(HAND_OFF, "eve", to, task, "k")


async def test_the_same_key_with_another_context_is_refused(world: World) -> None:
    sql = "select * from hand_off('eve', 'ada', 'do it', $1, idempotency_key => 'k')"
    await world.rows(sql, {"file": "a"})

    async with world.refused("ZH009"):
        await world.rows(sql, {"file": "b"})


async def test_a_key_belongs_to_its_sender(world: World) -> None:
    await world.rows(HAND_OFF, "eve", "ada", "do it", "k")

    [other] = await world.rows(HAND_OFF, "bob", "ada", "do it", "k")

    assert not other["repeated"]


async def test_a_key_is_kept_after_completion(world: World) -> None:
    [first] = await world.rows(HAND_OFF, "eve", "ada", "do it", "k")
    await world.cancel(first["handoff_id"])

    [again] = await world.rows(HAND_OFF, "eve", "ada", "do it", "k")

    assert again["repeated"]


async def test_a_repeated_key_is_a_commit_that_waits_for_the_standby_as_the_first_was(
    committed: World,
) -> None:
    """Only a transaction that writes waits; the first one may have been cancelled while it did."""
    await committed.rows(HAND_OFF, "eve", "ada", "do it", "k")
    async with committed.connection.transaction():
        [row] = await committed.rows(HAND_OFF, "eve", "ada", "do it", "k")

        assert row["repeated"]
        assert await committed.value("select pg_current_xact_id_if_assigned()::text") is not None


async def test_a_key_twice_in_one_call_is_one_handoff(world: World) -> None:
    item = {"to_agent": "ada", "task_description": "do it", "idempotency_key": "k"}

    rows = await world.rows("select * from hand_off_many('eve', $1)", [item, item])

    assert [row["repeated"] for row in rows] == [False, True]
    assert len({row["handoff_id"] for row in rows}) == 1


async def test_a_key_twice_by_plain_sql_is_refused(world: World) -> None:
    await world.handoff("ada", idempotency_key="k")

    async with world.refused("23505"):
        await world.handoff("ada", idempotency_key="k")


async def test_the_same_key_at_the_same_time_is_one_handoff(
    committed: World, database: Database
) -> None:
    async with World.on(database) as other:
        transaction = committed.connection.transaction()
        await transaction.start()
        [first] = await committed.rows(HAND_OFF, "eve", "ada", "do it", "k")
        second = other.later(other.rows(HAND_OFF, "eve", "ada", "do it", "k"))
        await committed.wait_until_blocked(other)
        await transaction.commit()

        [again] = await second

    assert (again["handoff_id"], again["repeated"]) == (first["handoff_id"], True)


# --- many at once -----------------------------------------------------------------------------


async def test_many_are_handed_off_in_their_order(world: World) -> None:
    items = [{"to_agent": "ada", "task_description": f"task {n}"} for n in range(20)]

    rows = await world.rows("select * from hand_off_many('eve', $1)", items)

    told = await world.rows(
        "select h.task_description from unnest($1::uuid[]) with ordinality as i (id, nth)"
        " join handoffs h on h.id = i.id order by i.nth",
        [row["handoff_id"] for row in rows],
    )
    by_position = await world.rows("select task_description from handoffs order by position")
    assert [row[0] for row in told] == [f"task {n}" for n in range(20)]
    assert [row[0] for row in by_position] == [f"task {n}" for n in range(20)]


async def test_an_unknown_field_is_named(world: World) -> None:
    item = {"to_agent": "ada", "task_description": "do it", "urgency": 5}

    async with world.refused("ZH006"):
        await world.rows("select * from hand_off_many('eve', $1)", [item])


@pytest.mark.parametrize("items", ["a text", 5, ["a text"], [[]]])
async def test_what_is_no_list_of_handoffs_is_refused(world: World, items: object) -> None:
    async with world.refused("ZH006"):
        await world.rows("select * from hand_off_many('eve', $1)", items)


async def test_one_bad_handoff_refuses_them_all(world: World) -> None:
    items = [
        {"to_agent": "ada", "task_description": "good"},
        {"to_agent": "ada", "task_description": " "},
    ]

    async with world.refused("23514"):
        await world.rows("select * from hand_off_many('eve', $1)", items)

    assert await world.value("select count(*) from handoffs") == 0


async def test_every_field_of_a_handoff_can_be_handed_off(world: World) -> None:
    parent = await world.handoff("ada")
    later = await world.value("select now() + interval '1 hour'")
    [made] = await world.rows(
        "select * from hand_off('eve', 'ada', 'do it', $1, 7, $2, $2, interval '5 minutes', 9, 'k',"
        " $3, $4)",
        {"file": "a"},
        later,
        parent,
        f"00-{'a' * 32}-{'b' * 16}-01",
    )

    row = await world.the(made["handoff_id"])
    assert row["context"] == {"file": "a"}
    assert (row["priority"], row["available_at"], row["deadline_at"]) == (7, later, later)
    assert (row["timeout"], row["max_attempts"]) == (timedelta(minutes=5), 9)
    assert (row["idempotency_key"], row["parent_id"]) == ("k", parent)
    assert row["traceparent"] == f"00-{'a' * 32}-{'b' * 16}-01"


async def test_an_address_that_nobody_answers_to_waits_with_a_warning(world: World) -> None:
    await world.agent("ada", roles=["reviewer"])

    warnings = [
        (await world.rows(HAND_OFF, "eve", to, "do it", None))[0]["warning"]
        for to in ("ada", "reviewer", "nobody")
    ]

    assert warnings[:2] == [None, None]
    assert "nobody" in warnings[2]


async def test_a_life_that_is_over_hands_nothing_off(world: World) -> None:
    await world.agent("ada")

    async with world.refused("ZH002"):
        await world.rows("select * from hand_off('ada', 'bob', 'x', incarnation => $1)", uuid4())
