"""The runner: an agent whose body is a command, started once for each handoff."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import anyio
from anyio.abc import TaskGroup

from coordinator.agents.agent import Agent
from coordinator.agents.background import background
from coordinator.agents.held import HeldHandoff
from coordinator.agents.runner.attempt import Attempt, Orders
from coordinator.agents.runner.threads import Threads
from coordinator.agents.stopping import Stopping
from coordinator.core.errors import ConfigError, LeaseLost
from coordinator.core.model import AgentState, Json

_LAST_WORD_WITHIN_S = 5
"""How long a runner that should stop goes on trying to say how its last attempt ended."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of one attempt.

    `outcome` is `succeeded`, `failed`, `retry`, `settled` (by the command itself), `cancelled` or
    `lost`.
    """

    handoff_id: UUID
    attempt: int
    outcome: str
    worktree: Json | None
    trouble: str | None
    """What is wrong on this side, such as a result that the database refuses."""


class Runner:
    """Runs a command for each handoff of an agent, one at a time."""

    def __init__(
        self,
        agent: Agent,
        orders: Orders,
        stopping: Stopping,
        *,
        errors: dict[UUID, Exception],
        tell: Callable[[Answered], None],
    ) -> None:
        self._agent = agent
        self._orders = orders
        self._stopping = stopping
        self._errors = errors
        self._at_rest = anyio.Event()
        """Set while no command runs."""
        self._at_rest.set()
        self._tell = tell
        self._threads = Threads()

    async def run(self, *, once: bool) -> None:
        """Run until asked to stop, or for one handoff.

        Raises RequestRefused once another process has the agent's name, and ConfigError when the
        command can no longer be started: another runner may do better.
        """
        async with background() as tasks:
            with anyio.CancelScope() as patience:
                tasks.start_soon(self._heed, patience)
                await self._answer(tasks, once=once)

    async def _answer(self, tasks: TaskGroup, *, once: bool) -> None:
        async for handoff in self._agent.handoffs():
            attempt = Attempt(
                handoff,
                self._orders,
                self._stopping,
                agent=self._agent,
                threads=self._threads,
                is_last=once,
            )
            try:
                async with handoff:
                    await self._work(attempt, tasks)
            except LeaseLost:
                attempt.outcome = "lost"
            self._tell(self._answered(handoff, attempt))
            if attempt.unstartable:
                raise ConfigError(
                    f"{self._orders.program} cannot be started any more",
                    attempt.unstartable,
                    "The handoff was given back. Mend the command, and start the runner again.",
                )
            if self._orders.profile.is_model and not (once or self._stopping.asked.is_set()):
                # What was settled through the window has left the agent working, so that no work
                # came before the command had ended; and whatever else became of the attempt.
                await self._agent.set_status(AgentState.IDLE)
            if once:
                self._agent.stop()

    async def _work(self, attempt: Attempt, tasks: TaskGroup) -> None:
        self._at_rest = anyio.Event()
        try:
            await attempt.work(tasks)
        finally:
            self._at_rest.set()

    async def _heed(self, patience: anyio.CancelScope) -> None:
        await self._stopping.asked.wait()
        self._agent.stop()
        await self._at_rest.wait()
        # The database may be away, and the attempt is taken back in any case.
        await anyio.sleep(_LAST_WORD_WITHIN_S)
        patience.cancel()

    def _answered(self, handoff: HeldHandoff, attempt: Attempt) -> Answered:
        outcome, trouble = attempt.outcome, None
        if error := self._errors.pop(handoff.id, None):
            # What is wrong with a body is tried again.
            outcome, trouble = "retry", str(error)
        elif attempt.left:
            trouble = f"the command has left processes that could not be ended: {attempt.left}"
        return Answered(handoff.id, handoff.attempt, outcome, attempt.worktree, trouble)
