"""Rows, read as the states of the life cycle."""

from typing import Any

from coordinator.core.lifecycle import AgentState, State
from tests.model.model import Known


def handoff_state(row: Any) -> State:
    """Read a handoff's state off its row."""
    if row["status"] == "completed":
        return State(row["outcome"])
    if row["status"] == "pending":
        return State.PENDING
    if row["cancel_requested"]:
        return State.STOPPING
    taken_up = row["accepted_at"] is not None or row["held_by"] is None
    return State.AT_WORK if taken_up else State.DISPATCHED


def known(row: Any) -> Known:
    """Read off a handoff's row what the model knows of it."""
    status = row["status"]
    return Known(
        handoff_state(row),
        row["attempt"],
        row["max_attempts"],
        row["retries"],
        row["assigned_agent"] if status == "in_progress" else None,
        row["due"] if status == "pending" else True,
    )


def agent_state(row: Any) -> AgentState:
    """Read an agent's state off its row."""
    holds = row["current_handoff"] is not None
    match row["status"], row["blocked_reason"]:
        case "idle", _:
            assert not holds
            return AgentState.IDLE
        case "working", _:
            return AgentState.HOLDING if holds else AgentState.OCCUPIED
        case _, "stale":
            return AgentState.STALE_HOLDING if holds else AgentState.STALE
        case _, "unresponsive":
            return AgentState.UNRESPONSIVE
        case _, "left":
            return AgentState.LEFT
        case _:
            return AgentState.SAID_HOLDING if holds else AgentState.SAID
