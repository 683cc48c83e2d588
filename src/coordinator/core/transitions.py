"""What happened to handoffs and agents: the rows of `coordination_events`, as events.

The triggers of the schema write them, whoever causes them; the daemon's tail reads and tells them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from coordinator.core.events import Level, known


@dataclass(frozen=True, slots=True)
class TransitionKind:
    """What one name in `coordination_events.event` means."""

    level: Level
    meaning: str


TRANSITIONS: Mapping[str, TransitionKind] = {
    "handoff.queued": TransitionKind(Level.INFO, "A handoff was inserted and waits its turn."),
    "handoff.dispatched": TransitionKind(Level.INFO, "The coordinator gave it to an agent."),
    "handoff.accepted": TransitionKind(Level.INFO, "The agent took it up."),
    "handoff.progressed": TransitionKind(Level.DEBUG, "The agent reported progress."),
    "handoff.cancel_requested": TransitionKind(
        Level.INFO, "Somebody asked to cancel it while an agent was at work on it."
    ),
    "handoff.taken_back": TransitionKind(
        Level.WARNING, "It was taken from its holder and waits again; `reason` says why."
    ),
    "handoff.attempt_failed": TransitionKind(
        Level.WARNING, "The attempt failed, attempts are left, and it waits again."
    ),
    "handoff.succeeded": TransitionKind(Level.INFO, "It was completed with a result."),
    "handoff.failed": TransitionKind(
        Level.ERROR, "It was completed as failed: no attempts left, past its deadline, or refused."
    ),
    "handoff.cancelled": TransitionKind(Level.INFO, "It was completed as cancelled."),
    "handoff.reopened": TransitionKind(
        Level.INFO, "An operator put a completed handoff back with a new budget of attempts."
    ),
    "handoff.settled_late": TransitionKind(
        Level.WARNING, "A result came with a stale token: kept as evidence, not applied."
    ),
    "handoff.deleted": TransitionKind(Level.WARNING, "Somebody deleted the row."),
    "agent.registered": TransitionKind(Level.INFO, "The agent registered."),
    "agent.replaced": TransitionKind(
        Level.WARNING, "A new incarnation registered; what the old one held was taken back."
    ),
    "agent.freed": TransitionKind(Level.INFO, "The agent said that it is idle."),
    "agent.occupied": TransitionKind(
        Level.INFO, "The agent said that it is working, though it holds no handoff."
    ),
    "agent.blocked": TransitionKind(
        Level.WARNING, "The agent gets no work until it recovers; `reason` says why."
    ),
    "agent.recovered": TransitionKind(Level.INFO, "A heartbeat lifted a verdict of stale."),
    "agent.left": TransitionKind(Level.INFO, "The agent said goodbye."),
    "agent.changed": TransitionKind(Level.INFO, "The agent's roles or metadata changed."),
    "agent.deleted": TransitionKind(Level.WARNING, "Somebody deleted the agent's row."),
}
"""The transitions this release knows. A newer schema may write others; they are told as well."""

TRANSITION_FIELDS: Mapping[str, str] = {
    "event_number": "its sequence in `coordination_events`; a repeated line has the same number",
    "occurred_at": "when it happened by the database's clock; `timestamp` is when it was logged",
    "handoff_id": "the handoff",
    "attempt": "the attempt, counted from 1; 0 before the first dispatch",
    "agent": "the agent concerned",
    "by_user": "the database user who caused it",
    "by_application": "that session's application name",
}
"""The fields of a transition's own columns."""

SAFE_DETAILS: Mapping[str, str] = {
    "from_agent": "who handed off",
    "to_agent": "the address: an agent's name or a role",
    "parent_id": "the handoff from which this one was handed on",
    "root_id": "the first handoff of the chain",
    "hop": "how many handoffs lie between the root and this one",
    "priority": "higher goes first",
    "status": "the agent's status from now on",
    "reason": "why, as one of the schema's words or the agent's own",
    "word": "what the late word was: complete or fail",
    "outcome": "how it ended: succeeded, failed or cancelled",
    "available_at": "not dispatched before this moment",
    "waited_s": "seconds from being available to being dispatched",
    "held_s": "seconds from being dispatched to the end of the attempt",
    "roles": "the other addresses the agent answers to",
    "incarnation": "one life of the agent's process",
}
"""What may be told of a transition's detail; the rest is content and is told only when asked."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of `coordination_events`."""

    sequence: int
    occurred_at: datetime
    event: str
    handoff_id: UUID | None
    attempt: int | None
    agent: str | None
    by_user: str | None
    by_application: str | None
    detail: Mapping[str, object]

    @property
    def name(self) -> str:
        """The event's name, also when this release does not know it."""
        return self.event

    @property
    def level(self) -> Level:
        """The kind's level; info for a kind from a newer schema."""
        kind = TRANSITIONS.get(self.event)
        return kind.level if kind else Level.INFO

    def fields(self, *, content: bool = False) -> dict[str, object]:
        """Return the columns and the safe details; `content` adds `detail` whole."""
        told: dict[str, object] = {
            "event_number": self.sequence,
            "occurred_at": self.occurred_at,
            "handoff_id": self.handoff_id,
            "attempt": self.attempt,
            "agent": self.agent,
            "by_user": self.by_user,
            "by_application": self.by_application,
        }
        told |= {key: self.detail[key] for key in SAFE_DETAILS if key in self.detail}
        if content:
            told["detail"] = dict(self.detail)
        return known(told)
