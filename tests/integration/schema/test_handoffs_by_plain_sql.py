"""Every state of a handoff meets plain SQL: of a plain agent, and of the owner.

Whatever the table of the life cycle does not have must leave everything as it was.
"""

from uuid import UUID

import asyncpg
import pytest

from coordinator.core.lifecycle import COMPLETED, IN_PROGRESS, State
from tests.integration.schema.test_handoff_life_cycle import Case, reach
from tests.integration.schema.world import World
from tests.model.seen import handoff_state

PLAIN = "coordinator_plain_agent"


NOTHING = "nothing"
"""Accepted, and nothing changed."""


def plain_answer(state: State, status: str, outcome: str | None, *, registered: bool) -> str:
    """What a plain `update handoffs set status = …, outcome = …` must lead to.

    A State's value, a SQLSTATE, or NOTHING.
    """
    if state in COMPLETED:
        return NOTHING if (status, outcome) == ("completed", state.value) else "ZH005"
    if status == "completed":
        return _plain_end(state, outcome or "succeeded", registered=registered)
    if outcome is not None:
        return "ZH005" if _moves(state, status) else "23514"
    return "ZH005" if _moves(state, status) else NOTHING


def _moves(state: State, status: str) -> bool:
    return (state in IN_PROGRESS) is not (status == "in_progress")


def _plain_end(state: State, outcome: str, *, registered: bool) -> str:
    if state is State.PENDING:
        return "ZH005" if outcome == "succeeded" else outcome
    if registered:
        return "ZH001"
    stopped = state is State.STOPPING and outcome == "failed"
    return "cancelled" if stopped else outcome


@pytest.mark.matrix
@pytest.mark.parametrize("role", [PLAIN, "none"])
@pytest.mark.parametrize("registered", [True, False])
@pytest.mark.parametrize("outcome", [None, "succeeded", "failed", "cancelled"])
@pytest.mark.parametrize("status", ["pending", "in_progress", "completed"])
async def test_a_plain_update_of_the_status_is_held_to_the_table(
    world: World, status: str, outcome: str | None, registered: bool, role: str
) -> None:
    for state in State:
        async with world.savepoint():
            case = await reach(world, state, plain=not registered)
            state = handoff_state(await world.the(case.handoff))
            given = outcome or (None if status != "completed" else state_outcome(state))
            before = await world.the(case.handoff)
            expected = plain_answer(state, status, given, registered=registered)

            async def update(case: Case = case, given: str | None = given) -> str:
                await world.execute(f"set local role {role}")
                await world.execute(
                    "update handoffs set status = $2, outcome = $3 where id = $1",
                    case.handoff,
                    status,
                    given,
                )
                await world.execute("set local role none")
                return "done"

            answer = await world.answered(update)
            after = await world.the(case.handoff)
            if expected in set(State):
                assert (answer, handoff_state(after).value) == ("done", expected), state
            else:
                assert answer == ("done" if expected == NOTHING else expected), state
                assert dict(after) == dict(before)


def state_outcome(state: State) -> str | None:
    """The outcome already there, which a plain client leaves alone."""
    return state.value if state in COMPLETED else None


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", "gen_random_uuid()"),
        ("from_agent", "'mallory'"),
        ("to_agent", "'mallory'"),
        ("root_id", "gen_random_uuid()"),
        ("hop", "hop + 1"),
        ("attempt", "attempt + 1"),
        ("attempt", "attempt - 1"),
        ("parent_id", "gen_random_uuid()"),
        ("idempotency_key", "'another'"),
    ],
)
async def test_identity_sender_lineage_and_attempt_never_change_by_themselves(
    world: World, state: State, column: str, value: str
) -> None:
    case = await reach(world, state)

    async with world.refused("ZH012"):
        await world.execute(f"update handoffs set {column} = {value} where id = $1", case.handoff)


@pytest.mark.parametrize("state", State)
async def test_the_position_never_changes(world: World, state: State) -> None:
    case = await reach(world, state)

    async with world.refused("428C9"):
        await world.execute("update handoffs set position = 1 where id = $1", case.handoff)


@pytest.mark.parametrize("state", [State.PENDING, State.DISPATCHED, State.AT_WORK, State.STOPPING])
async def test_retries_do_not_change_by_themselves(world: World, state: State) -> None:
    case = await reach(world, state)

    async with world.refused("ZH012"):
        await world.execute("update handoffs set retries = 1 where id = $1", case.handoff)


@pytest.mark.parametrize("change", ["assigned_agent = 'bob'", "held_by = gen_random_uuid()"])
@pytest.mark.parametrize("state", sorted(IN_PROGRESS))
async def test_the_holder_never_changes_within_an_attempt(
    world: World, state: State, change: str
) -> None:
    case = await reach(world, state)
    await world.agent("bob")

    async with world.refused("ZH012"):
        await world.execute(f"update handoffs set {change} where id = $1", case.handoff)


@pytest.mark.parametrize("state", [State.AT_WORK, State.STOPPING])
async def test_an_accept_is_not_taken_back_by_itself(world: World, state: State) -> None:
    case = await reach(world, state)

    async with world.refused("ZH012"):
        await world.execute("update handoffs set accepted_at = null where id = $1", case.handoff)


@pytest.mark.parametrize("column", ["result", "last_error", "priority", "context"])
@pytest.mark.parametrize("state", sorted(COMPLETED))
async def test_nothing_of_a_completed_handoff_changes(
    world: World, state: State, column: str
) -> None:
    case = await reach(world, state)
    value = {"priority": "7", "last_error": "'x'"}.get(column, "'{\"new\": 1}'")

    async with world.refused("ZH005"):
        await world.execute(f"update handoffs set {column} = {value} where id = $1", case.handoff)


async def test_a_dispatch_by_hand_must_count_the_attempt(world: World) -> None:
    case = await reach(world, State.PENDING)

    async with world.refused("ZH005"):
        await world.execute(
            "update handoffs set status = 'in_progress', assigned_agent = 'ada',"
            " dispatched_at = now() where id = $1",
            case.handoff,
        )


async def test_a_dispatch_of_what_is_not_due_is_refused(world: World) -> None:
    await world.agent()
    later = await world.value("select now() + interval '1 hour'")
    handoff = await world.handoff("ada", available_at=later)

    async with world.refused("ZH005"):
        await by_hand(world, handoff, "ada")


async def test_a_dispatch_to_an_agent_that_is_not_idle_is_refused(world: World) -> None:
    ada = await world.agent()
    await world.say(ada, "working")
    handoff = await world.handoff("ada")

    async with world.refused("ZH005"):
        await by_hand(world, handoff, "ada")


async def test_a_dispatch_to_nobody_is_refused(world: World) -> None:
    handoff = await world.handoff("ada")

    async with world.refused("ZH005"):
        await by_hand(world, handoff, "nobody")


async def by_hand(world: World, handoff: UUID, agent: str) -> None:
    """Dispatch as the daemon's role could, without its statement."""
    await world.execute(
        "update handoffs set status = 'in_progress', attempt = attempt + 1, assigned_agent = $2,"
        " dispatched_at = now() where id = $1",
        handoff,
        agent,
    )


async def test_a_second_handoff_for_a_busy_agent_is_refused(world: World) -> None:
    case = await reach(world, State.AT_WORK)
    second = await world.handoff("ada")

    async with world.refused("23505"):
        await by_hand(world, second, case.agent.name)


async def test_an_attempt_beyond_the_last_is_refused(world: World) -> None:
    await world.agent()
    handoff = await world.handoff("ada", max_attempts=1)
    await world.dispatch("ada")

    with pytest.raises(asyncpg.CheckViolationError):
        await world.execute(
            "update handoffs set status = 'pending', assigned_agent = null, held_by = null,"
            " dispatched_at = null where id = $1",
            handoff,
        )


@pytest.mark.parametrize(
    "values",
    [
        "status = 'in_progress', attempt = 1, assigned_agent = 'ada', dispatched_at = now()",
        "status = 'completed', outcome = 'succeeded', finished_at = now()",
        "attempt = 1",
        "retries = 1",
        "cancel_requested = true, cancel_requested_at = now()",
    ],
)
async def test_a_handoff_is_not_inserted_in_mid_life(world: World, values: str) -> None:
    columns, given = zip(*(part.split(" = ") for part in values.split(", ")), strict=True)

    async with world.refused("ZH005"):
        await world.execute(
            f"insert into handoffs (from_agent, to_agent, task_description, {', '.join(columns)})"
            f" values ('eve', 'ada', 'do it', {', '.join(given)})"
        )
