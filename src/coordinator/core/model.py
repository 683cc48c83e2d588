"""What agents and handoffs are: the words of the database, as types.

What crosses a process border is a frozen pydantic model that refuses unknown fields; what lives
inside one call is a frozen dataclass. Every duration is a timedelta, every moment has a time zone.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

Json = dict[str, Any]
"""A JSON object."""


class HandoffStatus(StrEnum):
    """Where in its life a handoff is."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"


class Outcome(StrEnum):
    """How a completed handoff ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AgentState(StrEnum):
    """What an agent does; `blocked` gets no work."""

    IDLE = "idle"
    WORKING = "working"
    BLOCKED = "blocked"


class BlockedReason(StrEnum):
    """The reserved reasons of a blocked agent; any other text is the agent's own word."""

    STALE = "stale"
    """No heartbeat was heard for too long; a heartbeat lifts it."""
    LEFT = "left"
    """It said goodbye; registering lifts it."""
    UNRESPONSIVE = "unresponsive"
    """It did not take up or did not stop its work; any sign that its body has ended lifts it."""


class Verdict(StrEnum):
    """What became of a settlement."""

    APPLIED = "applied"
    REPEATED = "repeated"
    """The same token had settled it the same way: a success, whose first answer was lost."""
    STALE = "stale"
    """The attempt no longer stands; what came is kept as evidence and was not applied."""


class CancelAnswer(StrEnum):
    """What a request to cancel did."""

    CANCELLED = "cancelled"
    """Nobody had taken it up: it ended at once."""
    REQUESTED = "requested"
    """Its agent is asked to stop; the agent's next word ends it."""
    COMPLETED = "completed"
    """It had ended before."""


@dataclass(frozen=True, slots=True)
class Life:
    """One life of an agent: its name, and the incarnation of its process."""

    agent_name: str
    incarnation: UUID


@dataclass(frozen=True, slots=True)
class Token:
    """One dispatch of a handoff; with a `Life` it is the fencing token."""

    handoff_id: UUID
    attempt: int


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Handoff(_Model):
    """A row of `handoffs`."""

    id: UUID
    from_agent: str
    to_agent: str
    task_description: str
    status: HandoffStatus
    context: Json
    created_at: AwareDatetime
    outcome: Outcome | None
    position: int
    assigned_agent: str | None
    held_by: UUID | None
    attempt: int
    max_attempts: int
    retries: int
    priority: int
    available_at: AwareDatetime
    dispatched_at: AwareDatetime | None
    accepted_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    deadline_at: AwareDatetime | None
    timeout: timedelta | None
    attempt_ends_at: AwareDatetime | None
    result: Any
    last_error: str | None
    end_reason: str | None
    idempotency_key: str | None
    parent_id: UUID | None
    root_id: UUID
    hop: int
    cancel_requested: bool
    traceparent: str | None

    @property
    def token(self) -> Token:
        """The attempt that this row shows."""
        return Token(self.id, self.attempt)


class NewHandoff(_Model):
    """A handoff to be made; whoever sends it is the sender.

    `to_agent` is an agent's name or a role. Higher `priority` goes first. The moment before which
    it is not dispatched is `available_at`, or `delay` from now; past its `deadline`, a moment or a
    time from now, it fails in any state. `timeout` limits one attempt, from the moment it is
    accepted. The same `idempotency_key` of the same sender makes one handoff only. Without
    `parent_id` the parent is what the sender holds at that moment, if anything. The database checks
    every limit and says which one is broken.
    """

    to_agent: str
    task_description: str
    context: Json = Field(default_factory=dict)
    priority: int = 0
    available_at: AwareDatetime | None = None
    delay: timedelta | None = None
    deadline: AwareDatetime | timedelta | None = None
    timeout: timedelta | None = None
    max_attempts: int = 3
    idempotency_key: str | None = None
    parent_id: UUID | None = None
    traceparent: str | None = None

    @model_validator(mode="after")
    def _starts_once(self) -> Self:
        if self.available_at is not None and self.delay is not None:
            raise ValueError("give available_at or delay, not both")
        return self

    def as_item(self) -> Json:
        """Return the JSON object that the store's statements take; unset fields are left out."""
        item = self.model_dump(mode="json", exclude_none=True, exclude={"context", "deadline"})
        item["context"] = self.context
        if isinstance(self.deadline, timedelta):
            item["deadline_in"] = f"{self.deadline.total_seconds()} seconds"
        elif self.deadline is not None:
            item["deadline_at"] = self.deadline.isoformat()
        return item


class HandoffResult(_Model):
    """How a handoff ended, and what came of it."""

    outcome: Outcome
    result: Any = None
    last_error: str | None = None


class Receipt(_Model):
    """The answer to a hand-off. `repeated`: the idempotency key was known; nothing was added."""

    handoff_id: UUID
    repeated: bool
    warning: str | None


class Heard(_Model):
    """The answer to a heartbeat: the agent's state, and what it holds now, if anything."""

    agent_name: str
    status: AgentState
    blocked_reason: str | None
    handoff_id: UUID | None
    attempt: int | None
    accepted: bool
    cancel_requested: bool

    @property
    def token(self) -> Token | None:
        """The attempt that the agent holds."""
        if self.handoff_id is None or self.attempt is None:
            return None
        return Token(self.handoff_id, self.attempt)


class AgentRow(_Model):
    """A row of `agent_status`."""

    id: UUID
    agent_name: str
    status: AgentState
    current_task: str | None
    last_seen: AwareDatetime
    metadata: Json
    blocked_reason: str | None
    roles: list[str]
    incarnation: UUID | None
    current_handoff: UUID | None
    status_since: AwareDatetime
    registered_at: AwareDatetime


class Push(BaseModel):
    """A notification on an agent's channel: a hint to its holder or to its sender.

    What a newer schema adds is ignored: half a hint is better than none.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    event: Literal[
        "dispatched", "cancel_requested", "taken_back", "succeeded", "failed", "cancelled"
    ]
    handoff_id: UUID
    attempt: int | None = None
    """Absent when the handoff was deleted."""


def settled_by(token: Token, row: Handoff | None) -> Outcome | None:
    """How this very attempt was settled by a word of its holder; None where it was not."""
    if row is None or row.token != token or row.status is HandoffStatus.IN_PROGRESS:
        return None
    if row.outcome is Outcome.SUCCEEDED:
        return row.outcome
    return Outcome.FAILED if row.end_reason == "failed" else None


def agent_channel(agent_name: str) -> str:
    """Name the channel that an agent listens on, as `agent_channel()` in the database does."""
    return f"to_{sha256(agent_name.encode()).hexdigest()[:32]}"
