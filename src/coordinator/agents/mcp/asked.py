"""What each tool takes. The descriptions are read by models, and checked against nothing else."""

from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from coordinator.core.model import NewHandoff

_LONGEST_S = 10 * 366 * 86_400
_INT32 = 2**31

HandoffId = Annotated[UUID, Field(description="The handoff's id, as it was shown to you.")]
Attempt = Annotated[
    int,
    Field(
        ge=0,
        lt=_INT32,
        description="The handoff's attempt, as it was shown to you. It proves that the work is"
        " still yours.",
    ),
]
Reason = Annotated[str, Field(min_length=1, max_length=4000)]
Seconds = Annotated[float, Field(ge=0, le=_LONGEST_S, allow_inf_nan=False)]


class Asked(BaseModel):
    """The arguments of a call; what is not named here is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Nothing(Asked):
    """No arguments."""


class Wait(Asked):
    """For `wait_for_handoff`."""

    at_most_s: Annotated[
        float | None,
        Field(
            gt=0,
            le=3600,
            description="Be back after so many seconds. Leave it out to wait as long as your client"
            " allows.",
        ),
    ] = None


class One(Asked):
    """One handoff."""

    handoff_id: HandoffId


class Held(One):
    """One attempt at a handoff."""

    attempt: Attempt


class Decline(Held):
    """For `decline_handoff`."""

    reason: Annotated[Reason, Field(description="Why you do not take it; its sender reads this.")]


class Progress(Held):
    """For `report_progress`."""

    note: Annotated[Reason, Field(description="What is done, in a sentence or two.")]
    percent: Annotated[float | None, Field(ge=0, le=100)] = None


class Sending(Asked):
    """A task to be handed on."""

    to: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            description="An agent's name or a role, as list_agents shows them.",
        ),
    ]
    task: Annotated[
        str,
        Field(
            min_length=1,
            description="What is to be done, complete in itself: whoever takes it up has not seen"
            " your conversation.",
        ),
    ]
    context: Annotated[
        dict[str, Any],
        Field(description="What it needs to know, as a JSON object: paths, names, findings."),
    ] = {}
    priority: Annotated[
        int, Field(ge=-_INT32, lt=_INT32, description="Higher goes first; 0 is usual.")
    ] = 0
    delay_s: Annotated[
        Seconds | None, Field(description="Not to be started before so many seconds from now.")
    ] = None
    deadline_s: Annotated[
        Seconds | None, Field(description="After so many seconds from now it fails, in any state.")
    ] = None
    timeout_s: Annotated[
        Seconds | None, Field(description="How many seconds one attempt may take once accepted.")
    ] = None
    max_attempts: Annotated[int, Field(ge=1, le=1_000_000)] = 3
    idempotency_key: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=200,
            description="The same key with the same content is the same handoff: give one where you"
            " may have to repeat the call.",
        ),
    ] = None

    def as_handoff(self, *, key: str | None = None, parent_id: UUID | None = None) -> NewHandoff:
        """Return what the database takes."""
        return NewHandoff(
            to_agent=self.to,
            task_description=self.task,
            context=self.context,
            priority=self.priority,
            delay=_span(self.delay_s),
            deadline=_span(self.deadline_s),
            timeout=_span(self.timeout_s),
            max_attempts=self.max_attempts,
            idempotency_key=self.idempotency_key or key,
            parent_id=parent_id,
        )


class Complete(Held):
    """For `complete_handoff`."""

    result: Annotated[
        Any, Field(description="What came of it, as any JSON value. Its sender reads this.")
    ] = None
    follow_ups: Annotated[
        list[Sending],
        Field(
            max_length=100,
            description="Handed on together with the completion, or not at all if it is refused.",
        ),
    ] = []


class Fail(Held):
    """For `fail_handoff`."""

    reason: Annotated[Reason, Field(description="What went wrong; its sender reads this.")]
    retry: Annotated[
        bool,
        Field(description="Whether trying again may help. False ends it as failed for good."),
    ] = True
    retry_in_s: Annotated[
        Seconds | None, Field(description="The pause before the next attempt, in seconds.")
    ] = None
    result: Annotated[Any, Field(description="What there is of a result, as any JSON value.")] = (
        None
    )


class Cancel(One):
    """For `cancel_handoff`."""

    reason: Annotated[
        str | None, Field(max_length=4000, description="Why; its agent and the operator read this.")
    ] = None


class Status(Asked):
    """For `set_status`."""

    status: Annotated[
        Literal["working", "blocked"],
        Field(
            description="working: busy with something of your own. blocked: something keeps you"
            " from working. Either way you get no work until you call wait_for_handoff."
        ),
    ]
    reason: Annotated[
        str | None, Field(max_length=200, description="What blocks you; only with blocked.")
    ] = None
    current_task: Annotated[
        str | None, Field(max_length=1000, description="What you are doing, for others to see.")
    ] = None


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
