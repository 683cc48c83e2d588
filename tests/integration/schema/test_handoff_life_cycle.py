"""Every state of a handoff meets every event, by the functions and the daemon's statements.

`coordinator.core.lifecycle` is the table. Whatever is not in it must leave everything as it was.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest

from coordinator.core.lifecycle import TRANSITIONS, Event, State
from tests.integration.schema.world import Life, World
from tests.model.seen import handoff_state


@dataclass(frozen=True, slots=True)
class Case:
    """A handoff in a certain state, with the agent that holds, held or awaits it."""

    handoff: UUID
    agent: Life
    attempt: int


async def reach(world: World, state: State, *, plain: bool = False, max_attempts: int = 3) -> Case:
    """Bring a new handoff into a state by the functions alone."""
    ada = await world.agent("ada", plain=plain)
    handoff = await world.handoff("ada", max_attempts=max_attempts)
    if state is State.PENDING:
        return Case(handoff, ada, 0)
    await world.dispatch("ada")
    case = Case(handoff, ada, 1)
    if state is not State.DISPATCHED:
        await world.accept(handoff, 1, ada)
    match state:
        case State.STOPPING:
            assert await world.cancel(handoff) == "requested"
        case State.SUCCEEDED:
            assert await world.complete(handoff, 1, ada) == "applied"
        case State.FAILED:
            assert await world.fail(handoff, 1, ada, retry=False) == "applied"
        case State.CANCELLED:
            await world.cancel(handoff)
            assert await world.fail(handoff, 1, ada) == "applied"
        case _:
            pass
    return case


# --- by the functions and the daemon's statements ---------------------------------------------


async def _dispatch(world: World, case: Case) -> str:
    return str((await world.dispatch("ada"))[0])


async def _accept(world: World, case: Case) -> str:
    await world.accept(case.handoff, case.attempt, case.agent)
    return "accepted"


async def _complete(world: World, case: Case) -> str:
    return await world.complete(case.handoff, case.attempt, case.agent)


async def _fail(world: World, case: Case) -> str:
    return await world.fail(case.handoff, case.attempt, case.agent)


async def _cancel(world: World, case: Case) -> str:
    return await world.cancel(case.handoff)


async def _cancel_grace(world: World, case: Case) -> str:
    await world.execute(
        "update handoffs set cancel_requested_at = now() - interval '31 seconds'"
        " where status = 'in_progress' and cancel_requested"
    )
    return str(await world.sweep("end_cancelled"))


async def _take_back(world: World, case: Case) -> str:
    await world.age_heartbeat("ada", timedelta(seconds=121))
    return str(await world.sweep("take_back_lapsed"))


async def _deadline(world: World, case: Case) -> str:
    await world.execute(
        "update handoffs set deadline_at = now() where id = $1 and status <> 'completed'",
        case.handoff,
    )
    return str(await world.sweep("end_overdue"))


async def _retry(world: World, case: Case) -> str:
    await world.retry(case.handoff)
    return "reopened"


DEEDS: Mapping[Event, Callable[[World, Case], Awaitable[str]]] = {
    Event.DISPATCH: _dispatch,
    Event.PLAIN_DISPATCH: _dispatch,
    Event.ACCEPT: _accept,
    Event.COMPLETE: _complete,
    Event.FAIL: _fail,
    Event.LAST_FAIL: _fail,
    Event.CANCEL: _cancel,
    Event.CANCEL_GRACE: _cancel_grace,
    Event.TAKE_BACK: _take_back,
    Event.LAST_TAKE_BACK: _take_back,
    Event.DEADLINE: _deadline,
    Event.RETRY: _retry,
}

ANSWER_WITHOUT_CHANGE: Mapping[Event, str] = {
    Event.DISPATCH: "0",
    Event.PLAIN_DISPATCH: "0",
    Event.ACCEPT: "ZH001",
    Event.COMPLETE: "stale",
    Event.FAIL: "stale",
    Event.LAST_FAIL: "stale",
    Event.CANCEL: "completed",
    Event.CANCEL_GRACE: "0",
    Event.TAKE_BACK: "0",
    Event.LAST_TAKE_BACK: "0",
    Event.DEADLINE: "0",
    Event.RETRY: "ZH005",
}
"""What the caller hears where the table has no transition."""

REPEATED = {
    (State.SUCCEEDED, Event.COMPLETE),
    (State.FAILED, Event.FAIL),
    (State.FAILED, Event.LAST_FAIL),
    (State.CANCELLED, Event.FAIL),
    (State.CANCELLED, Event.LAST_FAIL),
}
"""The same token settles again in the same way."""


@pytest.mark.matrix
@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
async def test_an_event_makes_of_a_state_what_the_table_says(
    world: World, state: State, event: Event
) -> None:
    last = event in {Event.LAST_FAIL, Event.LAST_TAKE_BACK}
    plain = event is Event.PLAIN_DISPATCH
    case = await reach(world, state, plain=plain, max_attempts=1 if last else 3)
    state = handoff_state(await world.the(case.handoff))
    before = await world.the(case.handoff)
    told = await world.events(case.handoff)

    answer = await world.answered(lambda: DEEDS[event](world, case))

    after = await world.the(case.handoff)
    if (state, event) in TRANSITIONS:
        assert handoff_state(after) is TRANSITIONS[state, event]
        return
    assert answer == ("repeated" if (state, event) in REPEATED else ANSWER_WITHOUT_CHANGE[event])
    assert dict(after) == dict(before)
    late = ["handoff.settled_late"] if answer == "stale" else []
    assert await world.events(case.handoff) == told + late
