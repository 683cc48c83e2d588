"""What a run leaves behind, as the rules read it, and what a rule says of it.

Two clocks meet here. Notes carry CLOCK_MONOTONIC, events and rows the server's clock, and
`server_ahead` turns the first into the second. All times are whole nanoseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from tests.faults.history import Note


@dataclass(frozen=True, slots=True)
class Event:
    """A row of `coordination_events`, and of its detail what the rules need."""

    sequence: int
    xid: int
    at: int
    name: str
    handoff_id: UUID | None = None
    attempt: int | None = None
    agent: str | None = None
    reason: str | None = None
    incarnation: UUID | None = None
    priority: int | None = None
    delayed: bool = False
    """Pending from here on, but not yet due: when it becomes so leaves no event."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `handoffs` at the end."""

    id: UUID
    from_agent: str
    to_agent: str
    position: int
    priority: int = 0
    status: str = "pending"
    outcome: str | None = None
    attempt: int = 0
    retries: int = 0
    assigned_agent: str | None = None
    dispatched_at: int | None = None
    finished_at: int | None = None
    deadline_at: int | None = None
    idempotency_key: str | None = None
    parent_id: UUID | None = None
    root_id: UUID | None = None
    hop: int = 0
    steps: int | None = None
    """How long the chain is from here, where its context says so."""


@dataclass(frozen=True, slots=True)
class History:
    """All that is known of a run. The `client` of a note is the name of the agent or the sender."""

    notes: Sequence[Note]
    events: Sequence[Event]
    """In the order of their numbers."""
    rows: Sequence[Row]
    log: Sequence[Sequence[int]]
    """The event numbers that were logged, a list for each reign, in the order of the reigns."""
    server_ahead: int
    """Added to CLOCK_MONOTONIC it gives the server's clock, or a moment after it; never before."""
    locked: Sequence[tuple[int, int]] = ()
    """From when to when, by CLOCK_MONOTONIC, a stranger held locks, or a sick server kept them."""


class Rule(StrEnum):
    """What must hold."""

    LOST = "what was acknowledged exists"
    REFUSED = "what was refused does not exist"
    KEY = "one key makes one handoff"
    HISTORY = "a handoff has a history, and a history its handoff"
    ENDED = "a handoff ends once, and then nothing happens to it"
    ROW = "a row shows where its history ends"
    ATTEMPTS = "attempts count up by one"
    OVERLAP = "the attempts of a handoff do not overlap"
    HOLDER = "an agent holds one handoff at a time"
    STALE = "only an attempt that stands does anything"
    VERDICT = "a client is told what happened"
    ACCEPTED = "an agent takes up what it was given"
    ORDER = "nobody is overtaken at an address"
    LOG = "every event is logged, and only a last batch again"
    CANCEL = "a cancel does what it answers"
    CHAIN = "a step of a chain is followed by the next one"


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, and where."""

    rule: Rule
    where: str

    def __str__(self) -> str:
        """As a battle prints it."""
        return f"broken: {self.rule}: {self.where}"


Attempt = tuple[UUID, int]
"""A handoff and the number of one of its attempts."""
