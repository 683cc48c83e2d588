"""What an agent may look at besides its own work: who is there, what waits, what came of it."""

from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict

from coordinator.core.model import AgentState, Json


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AgentView(_View):
    """An agent, as its colleagues see it."""

    agent_name: str
    status: AgentState
    blocked_reason: str | None
    roles: list[str]
    current_task: str | None
    current_handoff: UUID | None
    heard_s_ago: float


class WaitingHandoff(_View):
    """A pending handoff, without its content: whoever is given it will see that."""

    handoff_id: UUID
    from_agent: str
    to_agent: str
    priority: int
    created_at: AwareDatetime
    available_at: AwareDatetime


class Step(_View):
    """One transition in the tree of handoffs that began with one of them."""

    sequence: int
    occurred_at: AwareDatetime
    event: str
    handoff_id: UUID
    attempt: int | None
    agent: str | None
    detail: Json
