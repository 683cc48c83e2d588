"""The events as they are sent: ids and nothing else. What it is about, the receiver reads itself.

A notice keeps its id and its body however often it is sent. The id is made of event, handoff and
attempt, so that another process of this agent gives the same event the same id.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID, uuid4

from pydantic import AwareDatetime, BaseModel, ConfigDict

from coordinator.core.model import Handoff, Life, Outcome, Token

Kind = Literal[
    "handoff.dispatched",
    "handoff.cancel_requested",
    "handoff.taken_back",
    "handoff.succeeded",
    "handoff.failed",
    "handoff.cancelled",
    "webhook.ping",
]


class Data(BaseModel):
    """Whom and what an event is about; a ping is about no handoff."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent: str
    incarnation: UUID
    handoff_id: UUID | None = None
    attempt: int | None = None


class Event(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Kind
    timestamp: AwareDatetime
    data: Data


@dataclass(frozen=True, slots=True)
class Notice:
    """One event on its way."""

    id: str
    kind: Kind
    body: bytes


def dispatched(life: Life, row: Handoff, *, now: float) -> Notice:
    """Offer a handoff; `now` is in seconds since 1970, here and below."""
    when = row.dispatched_at or _moment(now)
    return _about(life, "handoff.dispatched", row.token, when)


def cancel_requested(life: Life, token: Token, *, now: float) -> Notice:
    """Ask to stop the work."""
    return _about(life, "handoff.cancel_requested", token, _moment(now))


def taken_back(life: Life, token: Token, *, now: float) -> Notice:
    """Tell that the attempt no longer stands."""
    return _about(life, "handoff.taken_back", token, _moment(now))


def ended(life: Life, row: Handoff, outcome: Outcome, *, now: float) -> Notice:
    """Tell what became of a handoff that this agent sent."""
    kinds: dict[Outcome, Kind] = {
        Outcome.SUCCEEDED: "handoff.succeeded",
        Outcome.FAILED: "handoff.failed",
        Outcome.CANCELLED: "handoff.cancelled",
    }
    # One that an operator has reopened may end again, with no further attempt.
    again = f"_{row.retries}" if row.retries else ""
    return _about(life, kinds[outcome], row.token, row.finished_at or _moment(now), again)


def ping(life: Life, *, now: float) -> Notice:
    """Ask whether anybody is there; each one has an id of its own."""
    data = Data(agent=life.agent_name, incarnation=life.incarnation)
    return _notice(f"ping_{uuid4().hex}", "webhook.ping", _moment(now), data)


def _about(life: Life, kind: Kind, token: Token, when: datetime, again: str = "") -> Notice:
    data = Data(
        agent=life.agent_name,
        incarnation=life.incarnation,
        handoff_id=token.handoff_id,
        attempt=token.attempt,
    )
    word = kind.partition(".")[2]
    return _notice(f"{word}_{token.handoff_id.hex}_{token.attempt}{again}", kind, when, data)


def _notice(notice_id: str, kind: Kind, when: datetime, data: Data) -> Notice:
    event = Event(type=kind, timestamp=when.astimezone(UTC), data=data)
    return Notice(notice_id, kind, event.model_dump_json(exclude_none=True).encode())


def _moment(now: float) -> datetime:
    return datetime.fromtimestamp(now, UTC)
