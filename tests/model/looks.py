"""The rows as they are, beside the rows as the ledger says that they must be."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from coordinator.core.lifecycle import IN_PROGRESS, AgentState
from tests.model.deed import Contradiction, must
from tests.model.ledger import Ledger
from tests.model.seen import agent_state, known

HANDOFFS = """
    select id, status, outcome, attempt, max_attempts, retries, assigned_agent, held_by, due,
      accepted_at, cancel_requested, position, from_agent, to_agent, priority, parent_id, root_id,
      hop, idempotency_key, task_description, context, result
    from handoffs
"""
AGENTS = """
    select agent_name, status, blocked_reason, current_handoff, incarnation, roles
    from agent_status
"""
_OWN_WORD = {AgentState.SAID, AgentState.SAID_HOLDING}


def learn_positions(ledger: Ledger, rows: Iterable[Any], made: Iterable[UUID]) -> None:
    """Take in the places of new handoffs: each at the end, in the order in which they were made."""
    positions = {row["id"]: row["position"] for row in rows}
    for handoff in made:
        position = positions.get(handoff, 0)
        must(position > ledger.last_position, f"{handoff} has no place at the end")
        ledger.sent[handoff].position = ledger.last_position = position


def check_handoffs(ledger: Ledger, rows: Iterable[Any], asked: Iterable[UUID]) -> None:
    """Raise Contradiction unless these handoffs are as they must be, and no others are there."""
    there = {row["id"]: row for row in rows}
    for handoff, row in there.items():
        must(handoff in ledger.sent, f"nobody handed off {row}")
        _same(row, _shown_handoff(row), _handoff(ledger, handoff))
    for handoff in asked:
        must((handoff in ledger.sent) is (handoff in there), f"{handoff} came or went")


def check_agents(ledger: Ledger, rows: Iterable[Any], asked: Iterable[str]) -> None:
    """Raise Contradiction unless these agents are as they must be, and no others are there."""
    there = {row["agent_name"]: row for row in rows}
    for name, row in there.items():
        must(name in ledger.model.agents, f"nobody registered {row}")
        _same(row, _shown_agent(row), _agent(ledger, name))
    for name in asked:
        must((name in ledger.model.agents) is (name in there), f"{name} came or went")


def _same(row: Any, seen: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    if seen != expected:
        differ = [pair for pair in zip(seen, expected, strict=True) if pair[0] != pair[1]]
        raise Contradiction(f"{row}\n(is, must be): {differ}")


def _shown_handoff(row: Any) -> tuple[Any, ...]:
    held = row["status"] == "in_progress"
    return (
        known(row),
        row["held_by"],
        row["accepted_at"] is not None if held else None,
        row["position"],
        row["from_agent"],
        row["to_agent"],
        row["priority"],
        row["parent_id"],
        row["root_id"],
        row["hop"],
        row["idempotency_key"],
        row["task_description"],
        row["context"],
        row["result"],
    )


def _handoff(ledger: Ledger, handoff: UUID) -> tuple[Any, ...]:
    state, sent = ledger.model.handoffs[handoff], ledger.sent[handoff]
    return (
        state,
        ledger.lives[state.holder] if state.holder else None,
        handoff in ledger.taken_up if state.state in IN_PROGRESS else None,
        sent.position,
        sent.from_agent,
        sent.to_agent,
        sent.priority,
        sent.parent,
        sent.root,
        sent.hop,
        sent.key,
        sent.task,
        sent.context,
        sent.result,
    )


def _shown_agent(row: Any) -> tuple[Any, ...]:
    state = agent_state(row)
    reason = row["blocked_reason"] if state in _OWN_WORD else None
    return state, reason, row["current_handoff"], row["incarnation"], tuple(row["roles"])


def _agent(ledger: Ledger, name: str) -> tuple[Any, ...]:
    state = ledger.model.agents[name]
    reason = ledger.reasons[name] if state in _OWN_WORD else None
    return state, reason, ledger.model.holds.get(name), ledger.lives[name], ledger.roles[name]
