"""The life-cycle tables by themselves: what must be true of them whatever the database does."""

import pytest

from coordinator.core.lifecycle import (
    AGENT_TRANSITIONS,
    COMPLETED,
    HOLDING_STATES,
    IN_PROGRESS,
    STATUS_AFTER,
    TRANSITIONS,
    AgentEvent,
    AgentState,
    Event,
    State,
    status_of,
)
from coordinator.core.transitions import TRANSITIONS as TOLD


def test_every_state_of_a_handoff_is_reached_from_pending() -> None:
    reached = {State.PENDING}
    while further := {TRANSITIONS[s, e] for s, e in TRANSITIONS if s in reached} - reached:
        reached |= further

    assert reached == set(State)


def test_every_state_of_an_agent_is_reached_from_idle() -> None:
    reached = {AgentState.IDLE}
    while further := {AGENT_TRANSITIONS[s, e] for s, e in AGENT_TRANSITIONS if s in reached}:
        if further <= reached:
            break
        reached |= further

    assert reached == set(AgentState)


@pytest.mark.parametrize("state", sorted(COMPLETED))
def test_only_a_retry_leads_out_of_completed(state: State) -> None:
    assert [e for s, e in TRANSITIONS if s is state] == [Event.RETRY]


def test_only_a_dispatch_leads_from_pending_into_progress() -> None:
    into = {
        e for (s, e), after in TRANSITIONS.items() if s is State.PENDING and after in IN_PROGRESS
    }

    assert into == {Event.DISPATCH, Event.PLAIN_DISPATCH}


@pytest.mark.parametrize("state", sorted(set(State) - COMPLETED))
def test_a_deadline_ends_every_handoff_as_failed(state: State) -> None:
    assert TRANSITIONS[state, Event.DEADLINE] is State.FAILED


@pytest.mark.parametrize("event", [Event.FAIL, Event.LAST_FAIL, Event.TAKE_BACK])
def test_what_was_asked_to_stop_is_not_tried_again(event: Event) -> None:
    assert TRANSITIONS[State.STOPPING, event] is State.CANCELLED


def test_only_an_idle_agent_is_given_work() -> None:
    assert [s for s, e in AGENT_TRANSITIONS if e is AgentEvent.DISPATCH] == [AgentState.IDLE]


@pytest.mark.parametrize("event", AgentEvent)
def test_who_has_left_comes_back_by_registering_alone(event: AgentEvent) -> None:
    after = AGENT_TRANSITIONS.get((AgentState.LEFT, event), AgentState.LEFT)

    registers = event in {AgentEvent.REGISTER, AgentEvent.REPLACE}
    assert after is (AgentState.IDLE if registers else AgentState.LEFT)


@pytest.mark.parametrize("state", sorted(HOLDING_STATES))
def test_an_agent_that_says_idle_while_it_holds_work_is_kept_as_working(state: AgentState) -> None:
    assert AGENT_TRANSITIONS[state, AgentEvent.SAY_IDLE] is AgentState.HOLDING


@pytest.mark.parametrize("state", AgentState)
def test_a_heartbeat_lifts_stale_alone(state: AgentState) -> None:
    after = AGENT_TRANSITIONS[state, AgentEvent.HEARTBEAT]

    stale = state in {AgentState.STALE, AgentState.STALE_HOLDING}
    assert (after is not state) is stale


def test_status_and_outcome_follow_from_the_state() -> None:
    assert [status_of(state) for state in State] == [
        ("pending", None),
        ("in_progress", None),
        ("in_progress", None),
        ("in_progress", None),
        ("completed", "succeeded"),
        ("completed", "failed"),
        ("completed", "cancelled"),
    ]


def test_events_that_move_a_handoff_are_told() -> None:
    assert STATUS_AFTER.keys() <= TOLD.keys()
