"""An agent: what the author of one writes against.

async with Agent.connect(dsn, "trae", roles=["reviewer"]) as agent:
async for handoff in agent.handoffs():
async with handoff:
handoff.succeed({"verdict": await review(handoff.context["files"])})
"""

import traceback
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

import anyio

from coordinator.agents.calls import AgentCalls
from coordinator.agents.held import NO_LONGER_OURS, HeldHandoff
from coordinator.agents.post import Post, vain_looks
from coordinator.agents.sent import SentHandoff
from coordinator.agents.station import HEARTBEAT_INTERVAL, Station
from coordinator.core.errors import LeaseLost, RequestRefused
from coordinator.core.hidden import Hidden
from coordinator.core.model import AgentState, Handoff, Json, Life, NewHandoff

Answer = TypeVar("Answer")
Call = Callable[[AgentCalls, Life], Awaitable[Answer]]
OnError = Callable[[HeldHandoff, Exception], None]
Handler = Callable[[HeldHandoff], Awaitable[Any]]


class UnknownAddress(UserWarning):
    """No agent answers to this address yet; the handoff waits until one registers."""


def print_error(handoff: HeldHandoff, error: Exception) -> None:
    """Print a body's exception on stderr, as Python does for a thread's."""
    traceback.print_exception(error)


class Agent:
    """One registered agent; made by `Agent.connect` or `AgentHost.agent`."""

    def __init__(self, post: Post, *, on_error: OnError = print_error) -> None:
        self._post = post
        self._on_error = on_error
        self._stopped = False

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        dsn: str,
        name: str,
        *,
        roles: Sequence[str] = (),
        metadata: Json | None = None,
        heartbeat_interval: timedelta = HEARTBEAT_INTERVAL,
        on_error: OnError = print_error,
    ) -> AsyncIterator["Agent"]:
        """Register an agent on a connection of its own; at the end of the block it leaves.

        `roles` are further addresses it answers to. `heartbeat_interval` must be at most a third of
        the daemon's `stale_after`. Registering a name again ends the life that had it.

        Raises StoreUnavailable or ConfigError when the first connection fails (later ones are
        waited for), RequestRefused for a name or roles that the database does not take.
        """
        dsn = Hidden(dsn)
        async with (
            Station.open(
                dsn,
                heartbeat_interval=heartbeat_interval,
                application_name=f"agent {name}",
            ) as station,
            station.post(name, roles=roles, metadata=metadata) as post,
        ):
            yield cls(post, on_error=on_error)

    @property
    def name(self) -> str:
        """The agent's name."""
        return self._post.life.agent_name

    @property
    def incarnation(self) -> UUID:
        """This life of its process."""
        return self._post.life.incarnation

    def handoffs(self) -> AsyncIterator[HeldHandoff]:
        """Yield each handoff that is given to this agent; enter it before asking for the next.

        Ends after `stop()`. Raises RequestRefused with code ZH002 once another process has
        registered under this name.
        """
        return self._each(self._offered)

    async def run(self, handler: Handler) -> None:
        """Answer each handoff by a call of `handler`; what it returns is the result.

        An attempt that is lost while the handler runs is told to `on_error`, and the next one
        awaited. Ends and raises as `handoffs()` does.
        """
        async for handoff in self._each(self._taken_up):
            try:
                async with handoff:
                    answer = await handler(handoff)
                    if answer is not None:
                        handoff.result = answer
            except LeaseLost as lost:
                self._on_error(handoff, lost)

    def stop(self) -> None:
        """End the iteration once the handoff under way, if any, is through."""
        self._stopped = True
        self._post.bell.ring()

    async def hand_off(
        self,
        to_agent: str,
        task_description: str,
        *,
        context: Json | None = None,
        priority: int = 0,
        available_at: datetime | None = None,
        delay: timedelta | None = None,
        deadline: datetime | timedelta | None = None,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - limits an attempt, not this call
        max_attempts: int = 3,
        idempotency_key: str | None = None,
        parent: HeldHandoff | SentHandoff | UUID | None = None,
        traceparent: str | None = None,
        wait: timedelta | None = None,
    ) -> SentHandoff:
        """Hand a task to an agent or a role; the fields are those of `NewHandoff`.

        The parent is the handoff whose body runs, unless another is given. `wait` says that the
        result will be awaited, at most so long: a wait that could never end is refused at once
        (ZH010), and nothing is handed off. Warns with UnknownAddress when nobody answers to the
        address yet. Raises RequestRefused.
        """
        if wait is not None:
            await self._post.ask(lambda calls: calls.check_wait(self._post.life, to_agent))
        handoff = NewHandoff(
            to_agent=to_agent,
            task_description=task_description,
            context=context or {},
            priority=priority,
            available_at=available_at,
            delay=delay,
            deadline=deadline,
            timeout=timeout,
            max_attempts=max_attempts,
            idempotency_key=idempotency_key,
            parent_id=parent if isinstance(parent, UUID) or parent is None else parent.id,
            traceparent=traceparent,
        )
        [sent] = await self._send([handoff], wait=wait)
        return sent

    async def hand_off_many(self, handoffs: Sequence[NewHandoff]) -> list[SentHandoff]:
        """Hand off all of these or none, in one transaction, in their order."""
        return await self._send(handoffs, wait=None)

    async def set_status(
        self,
        status: AgentState | str,
        *,
        reason: str | None = None,
        current_task: str | None = None,
    ) -> AgentState:
        """Say what this agent does: idle, working or blocked (for a reason of its own).

        A blocked agent gets no work until it says otherwise. Returns what now stands: idle stays
        working while a handoff is held.
        """
        state = AgentState(status)
        return await self._post.ask(
            lambda calls: calls.set_status(
                self._post.life, state, reason=reason, current_task=current_task
            )
        )

    async def ask(self, call: Call[Answer]) -> Answer:
        """Make any of the calls there are as this agent, until there is an answer.

        Raises RequestRefused.
        """
        return await self._post.ask(lambda calls: call(calls, self._post.life))

    async def _each(
        self, given: Callable[[], Awaitable[HeldHandoff | None]]
    ) -> AsyncIterator[HeldHandoff]:
        looks = vain_looks()
        while self._goes_on():
            await self._post.bell.wait()
            if not self._goes_on():
                continue
            if (handoff := await given()) is None:
                looks.spend(0, now=anyio.current_time())
                await anyio.sleep(looks.rest(now=anyio.current_time()))
                continue
            yield handoff
            if handoff.was_passed_over:
                raise RuntimeError(
                    f"handoff {handoff.id} was not taken up: enter it with `async with` before"
                    " asking for the next one (handoff.fail() declines it)"
                )
            if not handoff.is_over:
                self._post.bell.ring()

    async def _offered(self) -> HeldHandoff | None:
        row = await self._post.ask(lambda calls: calls.held(self._post.life))
        return await self._given(row, taken_up=False)

    async def _taken_up(self) -> HeldHandoff | None:
        # Nobody looks at it before it is entered, so that one call does for two.
        try:
            row = await self._post.ask(lambda calls: calls.take_up(self._post.life))
        except RequestRefused as refused:
            if refused.refusal not in NO_LONGER_OURS:
                raise
            return None  # taken back meanwhile, and no body has begun
        return await self._given(row, taken_up=True)

    async def _given(self, row: Handoff | None, *, taken_up: bool) -> HeldHandoff | None:
        if row is not None:
            return HeldHandoff(self._post, row, on_error=self._on_error, taken_up=taken_up)
        if self._post.unresponsive:
            # No body runs here, and saying so lifts the verdict.
            await self.set_status(AgentState.IDLE)
        return None

    async def _send(
        self, handoffs: Sequence[NewHandoff], *, wait: timedelta | None
    ) -> list[SentHandoff]:
        sent = [self._addressed(handoff) for handoff in handoffs]
        receipts = await self._post.ask(lambda calls: calls.hand_off(self._post.life, sent))
        for receipt in receipts:
            if receipt.warning is not None:
                warnings.warn(receipt.warning, UnknownAddress, stacklevel=3)
        return [
            SentHandoff(
                self._post,
                receipt,
                to_agent=handoff.to_agent,
                repeated=receipt.repeated and handoff.idempotency_key is not None,
                wait=wait,
            )
            for handoff, receipt in zip(handoffs, receipts, strict=True)
        ]

    def _addressed(self, handoff: NewHandoff) -> NewHandoff:
        body = self._post.body
        return handoff.model_copy(
            update={
                # A call whose answer was lost is made again, and must not add a second handoff.
                "idempotency_key": handoff.idempotency_key or f"once-{uuid4()}",
                # What the database would take for the parent may no longer be this body's.
                "parent_id": handoff.parent_id or (body.token.handoff_id if body else None),
            }
        )

    def _goes_on(self) -> bool:
        if self._post.over is not None:
            raise self._post.over
        return not self._stopped
