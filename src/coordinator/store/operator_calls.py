"""What operators ask of the database and do to it, one function a statement, with typed answers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from coordinator.core.transitions import Transition
from coordinator.store.connection import Record, Statements
from coordinator.store.passes import Cursor, transition


@dataclass(frozen=True, slots=True)
class HandoffRow:
    """A row of `handoffs`, with its age by the database's clock."""

    id: UUID
    from_agent: str
    to_agent: str
    task_description: str
    status: str
    outcome: str | None
    due: bool
    context: Mapping[str, object]
    result: object
    last_error: str | None
    end_reason: str | None
    assigned_agent: str | None
    held_by: UUID | None
    attempt: int
    max_attempts: int
    retries: int
    priority: int
    created_at: datetime
    available_at: datetime
    dispatched_at: datetime | None
    accepted_at: datetime | None
    finished_at: datetime | None
    deadline_at: datetime | None
    timeout_s: float | None
    attempt_ends_at: datetime | None
    idempotency_key: str | None
    parent_id: UUID | None
    root_id: UUID
    hop: int
    cancel_requested: bool
    traceparent: str | None
    age_s: float


@dataclass(frozen=True, slots=True)
class AgentRow:
    """A row of `agent_status`, with its ages by the database's clock."""

    id: UUID
    agent_name: str
    status: str
    blocked_reason: str | None
    roles: Sequence[str]
    current_task: str | None
    current_handoff: UUID | None
    incarnation: UUID | None
    metadata: Mapping[str, object]
    last_seen: datetime
    status_since: datetime
    registered_at: datetime
    seen_ago_s: float
    status_for_s: float


@dataclass(frozen=True, slots=True)
class StatusRow:
    """Counts and ages of one moment. Ages are seconds; None: there is nothing to be that old."""

    due: int
    delayed: int
    dispatched: int
    accepted: int
    succeeded: int
    failed: int
    cancelled: int
    oldest_due_s: float | None
    unanswered: Sequence[str]
    """Addresses with due work that no agent answers to; the first ten."""
    idle: int
    working: int
    blocked: int
    stale: int
    unresponsive: int
    left_agents: int
    term: int
    leader: UUID | None
    leader_connected: bool
    last_pass_ago_s: float | None
    notification_queue_usage: float
    """How full the server's queue of notifications is, from 0 to 1."""
    server_version: str
    schema_version: str | None
    """The newest migration in our own history; None where psql or Supabase applied them."""


@dataclass(frozen=True, slots=True)
class HandoffFilter:
    """Which handoffs are wanted; None lets all pass."""

    status: str | None = None
    outcome: str | None = None
    to_agent: str | None = None
    from_agent: str | None = None


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which transitions are wanted; None lets all pass."""

    handoff_id: UUID | None = None
    agent: str | None = None

    def lets_pass(self, event: Transition) -> bool:
        """Whether a transition is wanted."""
        return self.handoff_id in (None, event.handoff_id) and self.agent in (None, event.agent)


@dataclass(frozen=True, slots=True)
class NewHandoff:
    """What somebody hands over by hand. `delay` and `deadline_in` count from now."""

    from_agent: str
    to_agent: str
    task_description: str
    context: Mapping[str, object]
    priority: int = 0
    delay: timedelta = timedelta(0)
    deadline_at: datetime | None = None
    deadline_in: timedelta | None = None
    timeout: timedelta | None = None
    max_attempts: int = 3
    idempotency_key: str | None = None
    parent_id: UUID | None = None
    will_wait: bool = False


@dataclass(frozen=True, slots=True)
class HandedOff:
    """What became of a new handoff."""

    handoff_id: UUID
    repeated: bool
    """An earlier handoff has the same idempotency key and content; this is its id."""
    warning: str | None
    channel: str
    """Where the sender hears how it ends."""


async def find_handoff(statements: Statements, handoff_id: UUID) -> HandoffRow | None:
    """Return one handoff; None if there is no such id."""
    rows = await statements.run("operator_handoff", handoff_id=handoff_id)
    return _handoff(rows[0]) if rows else None


async def list_handoffs(
    statements: Statements, wanted: HandoffFilter, *, most: int
) -> list[HandoffRow]:
    """Return the newest handoffs that pass the filter, newest first."""
    rows = await statements.run(
        "operator_handoffs",
        status=wanted.status,
        outcome=wanted.outcome,
        to_agent=wanted.to_agent,
        from_agent=wanted.from_agent,
        most=most,
    )
    return [_handoff(row) for row in rows]


async def list_chain(statements: Statements, root_id: UUID) -> list[HandoffRow]:
    """Return the handoffs that began with `root_id`, in the order of their arrival."""
    return [_handoff(row) for row in await statements.run("operator_chain", root_id=root_id)]


async def list_handoff_events(
    statements: Statements, handoff_ids: Sequence[UUID]
) -> list[Transition]:
    """Return every transition of these handoffs, in order."""
    rows = await statements.run("operator_handoff_events", handoff_ids=list(handoff_ids))
    return [transition(row) for row in rows]


async def list_agents(
    statements: Statements, *, agent: str | None = None, status: str | None = None, most: int
) -> list[AgentRow]:
    """Return agents by name; None lets all pass."""
    rows = await statements.run("operator_agents", agent=agent, status=status, most=most)
    return [AgentRow(**dict(row)) for row in rows]


async def list_agent_events(statements: Statements, agent: str, *, most: int) -> list[Transition]:
    """Return the newest transitions of the agent's own, oldest of them first."""
    rows = await statements.run("operator_agent_events", agent=agent, most=most)
    return [transition(row) for row in reversed(rows)]


async def read_status(statements: Statements) -> StatusRow:
    """Return the whole picture in one read."""
    return StatusRow(**dict((await statements.run("operator_status"))[0]))


async def hand_off(statements: Statements, new: NewHandoff) -> HandedOff:
    """Hand a task over; raise RequestRefused where a rule forbids it."""
    rows = await statements.run(
        "operator_hand_off",
        from_agent=new.from_agent,
        to_agent=new.to_agent,
        task_description=new.task_description,
        context=new.context,
        priority=new.priority,
        delay=new.delay,
        deadline_at=new.deadline_at,
        deadline_in=new.deadline_in,
        timeout=new.timeout,
        max_attempts=new.max_attempts,
        idempotency_key=new.idempotency_key,
        parent_id=new.parent_id,
        will_wait=new.will_wait,
    )
    return HandedOff(**dict(rows[0]))


async def cancel_handoff(statements: Statements, handoff_id: UUID, reason: str | None) -> str:
    """Cancel; return `cancelled`, `requested` (its agent is asked to stop) or `completed`."""
    rows = await statements.run("operator_cancel", handoff_id=handoff_id, reason=reason)
    return str(rows[0]["verdict"])


async def retry_handoff(statements: Statements, handoff_id: UUID, *, attempts: int) -> int:
    """Reopen a completed handoff; return the number of the attempt that is its last one now."""
    rows = await statements.run("operator_retry", handoff_id=handoff_id, attempts=attempts)
    return int(rows[0]["max_attempts"])


async def start_of_events(
    statements: Statements, wanted: EventFilter, *, newest: int
) -> tuple[Cursor, int]:
    """Return the cursor of this moment, and behind which number the `newest` wanted ones lie."""
    rows = await statements.run(
        "operator_events_start", handoff_id=wanted.handoff_id, agent=wanted.agent, newest=newest
    )
    start = rows[0]
    return Cursor(start["seen"], None, 0, start["floor"]), start["after"]


async def which_history(statements: Statements) -> str:
    """Return what names the history that the server writes; after a failover it is another one."""
    rows = await statements.run("operator_history")
    return str(rows[0]["history"])


async def last_shared(statements: Statements, told: Collection[Transition]) -> int | None:
    """Return the highest number of these transitions that the server has too; None for none."""
    rows = await statements.run(
        "operator_last_shared",
        sequences=[event.sequence for event in told],
        times=[event.occurred_at for event in told],
    )
    last: int | None = rows[0]["last"]
    return last


async def list_events(
    statements: Statements, wanted: EventFilter, cursor: Cursor, *, after: int, page: int
) -> list[Transition]:
    """Return a page of what the cursor has seen, behind the number `after`, in order."""
    rows = await statements.run(
        "operator_events",
        handoff_id=wanted.handoff_id,
        agent=wanted.agent,
        seen=cursor.seen,
        floor=cursor.floor,
        after=after,
        page=page,
    )
    return [transition(row) for row in rows]


def _handoff(row: Record) -> HandoffRow:
    return HandoffRow(**dict(row))
