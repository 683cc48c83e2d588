"""What operators ask of the business half, where a database has it."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from uuid import UUID

from coordinator.core.errors import ConfigError, RequestRefused
from coordinator.store.connection import Statements

# There is no such function.
_NOT_INSTALLED = frozenset({"42883"})


@dataclass(frozen=True, slots=True)
class TaskHandOff:
    """Which task is to go to whom; `deadline_in` counts from now."""

    task_id: UUID
    to_agent: str
    from_agent: str
    deadline_at: datetime | None = None
    deadline_in: timedelta | None = None
    timeout: timedelta | None = None
    max_attempts: int = 3


@dataclass(frozen=True, slots=True)
class TaskHandedOff:
    """The handoff that the task follows from now on."""

    handoff_id: UUID
    warning: str | None


async def hand_off_task(statements: Statements, wanted: TaskHandOff) -> TaskHandedOff:
    """Hand a task to an agent or a role that serves its workspace.

    Raise RequestRefused where it does not serve, or the task is under way or unknown; ConfigError
    where the database has no business half.
    """
    try:
        [row] = await statements.run("business_hand_off_task", **asdict(wanted))
    except RequestRefused as error:
        if error.code not in _NOT_INSTALLED:
            raise
        raise ConfigError(
            "this database has no tasks",
            "the business half of the schema is not installed",
            "On a Supabase project: coordinator migrate --business.",
        ) from error
    return TaskHandedOff(**row)
