"""Every state of an agent meets every event that can happen to it; the table is the core's."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from coordinator.core.lifecycle import (
    AGENT_TRANSITIONS,
    HOLDING_STATES,
    AgentEvent,
    AgentState,
)
from tests.integration.schema.world import Life, World
from tests.model.seen import agent_state

SILENT = timedelta(seconds=46)


@dataclass(frozen=True, slots=True)
class Case:
    """An agent in a certain state, what it holds, and a handoff that it does not."""

    ada: Life
    held: UUID | None
    other: UUID


async def observed(world: World, name: str = "ada") -> AgentState:
    """Read an agent's state off its row."""
    return agent_state(await world.the_agent(name))


async def reach(world: World, state: AgentState, *, plain: bool = False) -> Case:
    """Bring an agent into a state."""
    ada = await world.agent("ada", plain=plain)
    other = await world.handoff("nobody")
    held = None
    if state in HOLDING_STATES or state is AgentState.UNRESPONSIVE:
        held = await world.held(ada, accepted=True)
    match state:
        case AgentState.OCCUPIED:
            await world.say(ada, "working")
        case AgentState.STALE | AgentState.STALE_HOLDING:
            await world.age_heartbeat("ada", SILENT)
            assert await world.sweep("block_stale_agents") == 1
        case AgentState.SAID | AgentState.SAID_HOLDING:
            await world.say(ada, "blocked", "lunch")
        case AgentState.UNRESPONSIVE:
            assert held is not None
            await world.end_by_force(held)
            held = None
        case AgentState.LEFT:
            await world.execute("select leave($1, $2)", ada.name, ada.incarnation)
        case _:
            pass
    assert await observed(world) is state
    return Case(ada, held, other)


# --- by the functions and the daemon's statements ---------------------------------------------


async def _dispatch(world: World, case: Case) -> str:
    await world.handoff("ada")
    return str((await world.dispatch("ada"))[0])


async def _freed(world: World, case: Case) -> str:
    assert case.held is not None
    return await world.complete(case.held, 1, case.ada)


async def _forced_end(world: World, case: Case) -> str:
    assert case.held is not None
    await world.end_by_force(case.held)
    return "ended"


async def _silence(world: World, case: Case) -> str:
    await world.age_heartbeat("ada", SILENT)
    return str(await world.sweep("block_stale_agents"))


async def _heartbeat(world: World, case: Case) -> str:
    answer = await world.heartbeat(case.ada)
    return str(answer["status"])


def _say(status: str) -> Callable[[World, Case], Awaitable[str]]:
    async def say(world: World, case: Case) -> str:
        await world.say(case.ada, status)
        return "said"

    return say


async def _late_word(world: World, case: Case) -> str:
    return await world.complete(case.other, 1, case.ada)


async def _register(world: World, case: Case) -> str:
    return str((await world.register(case.ada))["status"])


async def _replace(world: World, case: Case) -> str:
    return str((await world.register(Life("ada", uuid4())))["status"])


async def _leave(world: World, case: Case) -> str:
    await world.execute("select leave($1, $2)", case.ada.name, case.ada.incarnation)
    return "left"


DEEDS: Mapping[AgentEvent, Callable[[World, Case], Awaitable[str]]] = {
    AgentEvent.DISPATCH: _dispatch,
    AgentEvent.FREED: _freed,
    AgentEvent.FORCED_END: _forced_end,
    AgentEvent.SILENCE: _silence,
    AgentEvent.HEARTBEAT: _heartbeat,
    AgentEvent.SAY_IDLE: _say("idle"),
    AgentEvent.SAY_WORKING: _say("working"),
    AgentEvent.SAY_BLOCKED: _say("blocked"),
    AgentEvent.LATE_WORD: _late_word,
    AgentEvent.REGISTER: _register,
    AgentEvent.REPLACE: _replace,
    AgentEvent.LEAVE: _leave,
}

NEEDS_A_HANDOFF = {AgentEvent.FREED, AgentEvent.FORCED_END}


@pytest.mark.matrix
@pytest.mark.parametrize("event", AgentEvent)
@pytest.mark.parametrize("state", AgentState)
async def test_an_event_makes_of_an_agent_what_the_table_says(
    world: World, state: AgentState, event: AgentEvent
) -> None:
    if event in NEEDS_A_HANDOFF and state not in HOLDING_STATES:
        assert (state, event) not in AGENT_TRANSITIONS
        return
    case = await reach(world, state)
    before = await world.the_agent()

    answer = await world.answered(lambda: DEEDS[event](world, case))

    if (state, event) in AGENT_TRANSITIONS:
        assert await observed(world) is AGENT_TRANSITIONS[state, event]
        return
    assert answer == ("0" if event is AgentEvent.DISPATCH else "ZH011")
    assert dict(await world.the_agent()) == dict(before)


PLAIN_WORDS: Mapping[AgentEvent, str] = {
    AgentEvent.HEARTBEAT: "last_seen = now()",
    AgentEvent.SAY_IDLE: "status = 'idle', last_seen = now()",
    AgentEvent.SAY_WORKING: "status = 'working', last_seen = now()",
    AgentEvent.SAY_BLOCKED: "status = 'blocked', blocked_reason = 'lunch', last_seen = now()",
}


@pytest.mark.matrix
@pytest.mark.parametrize("event", PLAIN_WORDS)
@pytest.mark.parametrize("state", AgentState)
async def test_a_plain_agents_word_is_held_to_the_table(
    world: World, state: AgentState, event: AgentEvent
) -> None:
    await reach(world, state, plain=True)
    before = await world.the_agent()

    async def speak() -> str:
        async with world.role("coordinator_plain_agent"):
            await world.execute(
                f"update agent_status set {PLAIN_WORDS[event]} where agent_name = 'ada'"
            )
        return "said"

    answer = await world.answered(speak)

    if (state, event) in AGENT_TRANSITIONS:
        assert await observed(world) is AGENT_TRANSITIONS[state, event]
        return
    assert answer == "ZH011"
    assert dict(await world.the_agent()) == dict(before)


@pytest.mark.parametrize("status", ["idle", "working", "blocked"])
async def test_each_status_that_an_agent_says_is_an_event(world: World, status: str) -> None:
    other = "working" if status == "idle" else "idle"
    ada = await world.agent()
    await world.say(ada, other)
    told = len(await world.agent_events())

    await world.say(ada, status)

    name = {"idle": "agent.freed", "working": "agent.occupied", "blocked": "agent.blocked"}[status]
    assert (await world.agent_events())[told:] == [name]


@pytest.mark.parametrize("reason", ["stale", "left", "unresponsive"])
async def test_an_agent_cannot_say_a_reserved_reason(world: World, reason: str) -> None:
    ada = await world.agent()

    async with world.refused("ZH006"):
        await world.say(ada, "blocked", reason)


async def test_blocked_said_without_a_reason_is_said(world: World) -> None:
    await world.agent(plain=True)

    async with world.role("coordinator_plain_agent"):
        await world.execute("update agent_status set status = 'blocked' where agent_name = 'ada'")

    assert await world.shows() == ("blocked", "said")


async def test_a_reason_without_blocked_is_dropped(world: World) -> None:
    await world.agent(plain=True)

    await world.execute("update agent_status set blocked_reason = 'x' where agent_name = 'ada'")

    assert await world.shows() == ("idle", None)


async def test_working_is_kept_until_the_agent_says_otherwise(world: World) -> None:
    ada = await world.agent(plain=True)
    await world.say(ada, "working")
    await world.handoff("ada")

    assert await world.dispatch("ada") == (0, False)


async def test_current_handoff_does_not_change_by_hand(world: World) -> None:
    ada = await world.agent()
    await world.held(ada)

    async with world.refused("ZH012"):
        await world.execute("update agent_status set current_handoff = null")


@pytest.mark.parametrize("change", ["id = gen_random_uuid()", "agent_name = 'eve'"])
async def test_an_agents_identity_does_not_change(world: World, change: str) -> None:
    await world.agent()

    async with world.refused("ZH012"):
        await world.execute(f"update agent_status set {change}")


async def test_an_agent_does_not_arrive_holding_a_handoff(world: World) -> None:
    async with world.refused("ZH012"):
        await world.execute(
            "insert into agent_status (agent_name, status, current_handoff)"
            " values ('ada', 'working', gen_random_uuid())"
        )
