"""What `doctor` asks the database beside the schema's shape."""

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from coordinator.store.catalog import ROLES
from coordinator.store.connection import Statements

_SHOWN = 20
"""How many contradictions are worth naming."""


@dataclass(frozen=True, slots=True)
class SchemaHealth:
    """The state of the server and of the roles."""

    missing_roles: list[str]
    owners: list[str]
    """Who owns the tables and the trigger functions; it should be one role."""
    notification_queue_usage: float
    """0 to 1; at 1 every transaction that notifies fails."""
    prepared_transactions: int
    """In this database."""
    idle_session_timeout: timedelta
    """Zero: idle connections may stay."""
    loosely_bound: list[str] = field(default_factory=list)
    """Logins that are bound to one agent, and have rights that pass the binding by."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """An agent that holds what is not its own, or a handoff in progress that its agent does not."""

    agent: str
    handoff_id: UUID
    wrong: str
    """Which of the two rows is wrong: agent or handoff."""


async def schema_health(on: Statements) -> SchemaHealth:
    """Ask for the state of the server and of the roles."""
    (row,) = await on.run("schema_health", roles=list(ROLES))
    return SchemaHealth(**dict(row))


async def contradictions(on: Statements) -> list[Contradiction]:
    """Find rows that contradict each other; not more than twenty."""
    rows = await on.run("schema_contradictions", limit=_SHOWN)
    return [Contradiction(**dict(row)) for row in rows]


async def ring(on: Statements, channel: str) -> None:
    """Notify a channel, with an empty payload."""
    await on.run("schema_ring", channel=channel)
