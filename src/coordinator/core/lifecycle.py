"""The life cycle of a handoff and of an agent, as plain data.

The database holds the rules: constraints, triggers and functions refuse what is not in these
tables, whoever asks. This module says the same once more, in a form that a person can read whole
and a test can walk through. Nothing at run time depends on it.

A handoff's state is more than its `status`. While it is in progress three things decide what may
happen next, so there are three states for it:

    DISPATCHED   a registered agent was given it and has not said a word; a cancel ends it at once
    AT_WORK      its agent has accepted, or speaks plain SQL only and need not; a cancel must ask
    STOPPING     it was asked to stop; its agent's next word ends it, and so does its silence

Whether attempts are left changes where a failure leads, so a failure and a take-back come in two
events each: FAIL and TAKE_BACK while attempts are left, LAST_FAIL and LAST_TAKE_BACK on the last.

What an event does not change is in the table as well (state to the same state): a repeated accept,
a second request to stop. A pair that is not in the table is refused, or answered without a change:

    cancel on what is completed        answers `completed`
    complete, fail with a stale token  answer `repeated` or `stale`; the word is kept as an event
    accept with a stale token          ZH001
    retry of what is not completed     ZH005
    any other way, as plain SQL        ZH005

An agent's state is its `status`, the reason when it is blocked, and whether it holds a handoff.
`blocked` keeps its reason when an attempt ends: only what the agent does next may lift it, and
which deed lifts which reason is what AGENT_TRANSITIONS says.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """Where in its life a handoff is."""

    PENDING = "pending"
    DISPATCHED = "dispatched"
    AT_WORK = "at work"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Event(StrEnum):
    """What can happen to a handoff."""

    DISPATCH = "dispatch"
    """The coordinator gives it to a registered agent; the attempt counts up."""
    PLAIN_DISPATCH = "plain dispatch"
    """The coordinator gives it to an agent without an incarnation; the attempt counts up."""
    ACCEPT = "accept"
    COMPLETE = "complete"
    FAIL = "fail"
    LAST_FAIL = "last fail"
    """The agent fails the last attempt, or says that another one is of no use."""
    CANCEL = "cancel"
    CANCEL_GRACE = "cancel grace"
    """It was asked to stop and its agent stayed silent."""
    TAKE_BACK = "take back"
    """Lapsed, timed out, not accepted, replaced or left; attempts are left."""
    LAST_TAKE_BACK = "last take back"
    DEADLINE = "deadline"
    RETRY = "retry"
    """An operator reopens it with a new budget of attempts."""


def _handoff_transitions() -> dict[tuple[State, Event], State]:
    s, e = State, Event
    settled = {
        (s.SUCCEEDED, e.RETRY): s.PENDING,
        (s.FAILED, e.RETRY): s.PENDING,
        (s.CANCELLED, e.RETRY): s.PENDING,
    }
    waiting = {
        (s.PENDING, e.DISPATCH): s.DISPATCHED,
        (s.PENDING, e.PLAIN_DISPATCH): s.AT_WORK,
        (s.PENDING, e.CANCEL): s.CANCELLED,
        (s.PENDING, e.DEADLINE): s.FAILED,
    }
    held = {
        (state, event): after
        for state in (s.DISPATCHED, s.AT_WORK)
        for event, after in (
            (e.ACCEPT, s.AT_WORK),
            (e.COMPLETE, s.SUCCEEDED),
            (e.FAIL, s.PENDING),
            (e.LAST_FAIL, s.FAILED),
            (e.TAKE_BACK, s.PENDING),
            (e.LAST_TAKE_BACK, s.FAILED),
            (e.DEADLINE, s.FAILED),
        )
    }
    cancelled = {
        (s.DISPATCHED, e.CANCEL): s.CANCELLED,
        (s.AT_WORK, e.CANCEL): s.STOPPING,
        (s.STOPPING, e.CANCEL): s.STOPPING,
        (s.STOPPING, e.ACCEPT): s.STOPPING,
        (s.STOPPING, e.COMPLETE): s.SUCCEEDED,
        (s.STOPPING, e.FAIL): s.CANCELLED,
        (s.STOPPING, e.LAST_FAIL): s.CANCELLED,
        (s.STOPPING, e.TAKE_BACK): s.CANCELLED,
        (s.STOPPING, e.LAST_TAKE_BACK): s.CANCELLED,
        (s.STOPPING, e.CANCEL_GRACE): s.CANCELLED,
        (s.STOPPING, e.DEADLINE): s.FAILED,
    }
    return waiting | held | cancelled | settled


TRANSITIONS: Mapping[tuple[State, Event], State] = MappingProxyType(_handoff_transitions())
"""What each event makes of each state; a pair that is missing changes nothing."""

COMPLETED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
"""The states whose `status` is completed; the state is the `outcome`."""

IN_PROGRESS = frozenset({State.DISPATCHED, State.AT_WORK, State.STOPPING})
"""The states whose `status` is in_progress: exactly one agent holds it."""

STATUS_AFTER: Mapping[str, tuple[str, str | None]] = MappingProxyType(
    {
        "handoff.queued": ("pending", None),
        "handoff.dispatched": ("in_progress", None),
        "handoff.accepted": ("in_progress", None),
        "handoff.cancel_requested": ("in_progress", None),
        "handoff.taken_back": ("pending", None),
        "handoff.attempt_failed": ("pending", None),
        "handoff.succeeded": ("completed", "succeeded"),
        "handoff.failed": ("completed", "failed"),
        "handoff.cancelled": ("completed", "cancelled"),
        "handoff.reopened": ("pending", None),
    }
)
"""`status` and `outcome` after each row of `coordination_events` that moves a handoff."""


def status_of(state: State) -> tuple[str, str | None]:
    """Return the `status` and the `outcome` that the row shows in this state."""
    if state in COMPLETED:
        return "completed", state.value
    return ("in_progress" if state in IN_PROGRESS else "pending"), None


class AgentState(StrEnum):
    """What an agent does, as far as the coordinator can know."""

    IDLE = "idle"
    HOLDING = "holding"
    """Working on a handoff that it was given."""
    OCCUPIED = "occupied"
    """Working by its own word, without a handoff: it gets none until it says otherwise."""
    STALE = "stale"
    STALE_HOLDING = "stale, holding"
    """Silent, but its attempt still stands."""
    SAID = "said"
    """Blocked by its own word."""
    SAID_HOLDING = "said, holding"
    UNRESPONSIVE = "unresponsive"
    """Its attempt was ended by force, and its body may still be running."""
    LEFT = "left"


class AgentEvent(StrEnum):
    """What can happen to an agent."""

    DISPATCH = "dispatch"
    FREED = "freed"
    """Its attempt was settled, cancelled or taken back."""
    FORCED_END = "forced end"
    """Its attempt was ended by a time-out or the cancel grace."""
    SILENCE = "silence"
    """No heartbeat for `stale_after`."""
    HEARTBEAT = "heartbeat"
    SAY_IDLE = "say idle"
    SAY_WORKING = "say working"
    SAY_BLOCKED = "say blocked"
    LATE_WORD = "late word"
    """It settles an attempt that no longer stands: the sign that its body has ended."""
    REGISTER = "register"
    """The same life registers again."""
    REPLACE = "replace"
    """A new life registers; what the old one holds is taken back."""
    LEAVE = "leave"


def _agent_transitions() -> dict[tuple[AgentState, AgentEvent], AgentState]:
    s, e = AgentState, AgentEvent
    free = (s.IDLE, s.OCCUPIED, s.STALE, s.SAID, s.UNRESPONSIVE, s.LEFT)
    holding = (s.HOLDING, s.STALE_HOLDING, s.SAID_HOLDING)
    unchanged = {
        (state, event): state
        for state in s
        for event in (e.HEARTBEAT, e.SILENCE, e.LATE_WORD)
        if (state, event) not in _LIFTED
    }
    words = {
        (state, event): after
        for state in free
        if state is not s.LEFT
        for event, after in (
            (e.SAY_IDLE, s.IDLE),
            (e.SAY_WORKING, s.OCCUPIED),
            (e.SAY_BLOCKED, s.SAID),
        )
    }
    words_holding = {
        (state, event): after
        for state in holding
        for event, after in (
            (e.SAY_IDLE, s.HOLDING),
            (e.SAY_WORKING, s.HOLDING),
            (e.SAY_BLOCKED, s.SAID_HOLDING),
        )
    }
    lives = {(state, e.REGISTER): s.HOLDING if state in holding else s.IDLE for state in s}
    lives |= {(state, e.REPLACE): s.IDLE for state in s}
    lives |= {(state, e.LEAVE): s.LEFT for state in s}
    work = {
        (s.IDLE, e.DISPATCH): s.HOLDING,
        (s.HOLDING, e.FREED): s.IDLE,
        (s.HOLDING, e.FORCED_END): s.UNRESPONSIVE,
        (s.STALE_HOLDING, e.FREED): s.STALE,
        (s.STALE_HOLDING, e.FORCED_END): s.STALE,
        (s.SAID_HOLDING, e.FREED): s.SAID,
        (s.SAID_HOLDING, e.FORCED_END): s.SAID,
    }
    return unchanged | words | words_holding | lives | work | _LIFTED


_LIFTED: dict[tuple[AgentState, AgentEvent], AgentState] = {
    (AgentState.IDLE, AgentEvent.SILENCE): AgentState.STALE,
    (AgentState.OCCUPIED, AgentEvent.SILENCE): AgentState.STALE,
    (AgentState.HOLDING, AgentEvent.SILENCE): AgentState.STALE_HOLDING,
    (AgentState.STALE, AgentEvent.HEARTBEAT): AgentState.IDLE,
    (AgentState.STALE_HOLDING, AgentEvent.HEARTBEAT): AgentState.HOLDING,
    (AgentState.UNRESPONSIVE, AgentEvent.LATE_WORD): AgentState.IDLE,
}

AGENT_TRANSITIONS: Mapping[tuple[AgentState, AgentEvent], AgentState] = MappingProxyType(
    _agent_transitions()
)
"""What each event makes of each agent; a pair that is missing cannot happen or is refused.

Dispatch goes to an idle agent alone, and what has left comes back by registering alone (ZH011).
"""

HOLDING_STATES = frozenset({AgentState.HOLDING, AgentState.STALE_HOLDING, AgentState.SAID_HOLDING})
"""The agents that hold a handoff."""
