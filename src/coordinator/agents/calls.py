"""What an agent needs from wherever its state lives: a database today, a gateway tomorrow.

Nothing else in this package knows how a call travels. A call raises StoreUnavailable when time
must pass, RequestRefused when the rules forbid it. All calls may be repeated without harm once
their answer is lost, except `report_progress`, which then records its note twice.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

import anyio

from coordinator.core.model import (
    AgentRow,
    AgentState,
    CancelAnswer,
    Handoff,
    Heard,
    Json,
    Life,
    NewHandoff,
    Receipt,
    Token,
    Verdict,
)
from coordinator.core.views import AgentView, Step, WaitingHandoff


class AgentCalls(Protocol):
    """The calls of one connection; when it is lost, another one is opened."""

    @property
    def lost(self) -> anyio.Event:
        """Set once this connection has gone."""
        ...

    async def close(self) -> None:
        """Say goodbye."""
        ...

    def hang_up(self) -> None:
        """Drop the connection without a word."""
        ...

    async def listen(self, hear: Mapping[str, Callable[[str], None]]) -> None:
        """Hear what is pushed to these agents. Look once more after this returns."""
        ...

    async def register(
        self, life: Life, *, roles: Sequence[str], metadata: Json, away: bool = False
    ) -> AgentRow:
        """Register this life of an agent; what another life of it holds is taken back.

        With `away` it takes no work until it says that it is idle.
        """
        ...

    async def find_agent(self, agent_name: str) -> AgentRow | None:
        """Read an agent's row; None where nobody has this name."""
        ...

    async def beat(self, agent_names: Sequence[str], incarnation: UUID) -> list[Heard]:
        """Heartbeat for agents of one incarnation; who is not in the answer has been replaced."""
        ...

    async def set_status(
        self, life: Life, status: AgentState, *, reason: str | None, current_task: str | None
    ) -> AgentState:
        """Say what the agent does; return what now stands."""
        ...

    async def leave(self, life: Life) -> None:
        """Say goodbye; what the agent holds is taken back."""
        ...

    async def hand_off(self, life: Life, handoffs: Sequence[NewHandoff]) -> list[Receipt]:
        """Hand off, all or none, in this order."""
        ...

    async def check_wait(self, life: Life, to_agent: str) -> None:
        """Raise RequestRefused (ZH010) where waiting for this address would never end."""
        ...

    async def held(self, life: Life) -> Handoff | None:
        """Read what this life holds now."""
        ...

    async def take_up(self, life: Life) -> Handoff | None:
        """Take up what this life holds now, as `held` and `accept` would; None: nothing."""
        ...

    async def accept(self, life: Life, token: Token) -> Handoff:
        """Take up an attempt; accepting again changes nothing."""
        ...

    async def report_progress(
        self, life: Life, token: Token, *, note: str | None, detail: Json
    ) -> bool:
        """Record progress; return whether the work should be cancelled."""
        ...

    async def complete(
        self,
        life: Life,
        token: Token,
        *,
        result: Any,
        follow_ups: Sequence[NewHandoff],
        away: bool = False,
    ) -> Verdict:
        """Complete as succeeded, and hand on in the same transaction.

        With `away` the agent takes no work after it until it says that it is idle.
        """
        ...

    async def fail(
        self,
        life: Life,
        token: Token,
        *,
        error: str,
        retry: bool,
        retry_in: timedelta | None,
        result: Any,
        away: bool = False,
    ) -> Verdict:
        """Fail; with `retry`, again after a pause while attempts are left (None: the schema's).

        `away` is as in `complete`.
        """
        ...

    async def cancel(self, handoff_id: UUID, *, reason: str | None) -> CancelAnswer:
        """Ask that a handoff be cancelled."""
        ...

    async def handoff(self, handoff_id: UUID) -> Handoff | None:
        """Read a handoff; None for an unknown id."""
        ...

    async def colleagues(self, *, most: int) -> list[AgentView]:
        """List the agents by name; refused where the login may only call functions."""
        ...

    async def waiting(self, addresses: Sequence[str], *, most: int) -> list[WaitingHandoff]:
        """List what waits at these addresses; refused where the login may only call functions."""
        ...

    async def trace(self, root_id: UUID, *, most: int) -> list[Step]:
        """List what came of a first handoff; refused where the login may only call functions."""
        ...


Dial = Callable[[], Awaitable[AgentCalls]]
"""Opens a connection; raises StoreUnavailable or ConfigError."""
