"""The long poll: a call that waits until a handoff is given, and costs nothing meanwhile.

It looks once, says that the agent is idle, and then sleeps until a push rings. Nothing is taken out
by looking: the database keeps what was given until it is accepted or taken back, so that a call
whose answer was lost, or that its client gave up, has lost nothing. The next one shows it again.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto

import anyio

from coordinator.agents.background import background
from coordinator.agents.mcp.place import Place
from coordinator.agents.mcp.work import Work
from coordinator.agents.post import vain_looks
from coordinator.core.model import AgentState, Handoff

_CEILINGS = {
    "claude-code": timedelta(seconds=110),
    "codex-mcp-client": timedelta(seconds=280),
    "gemini-cli-mcp-client": timedelta(seconds=540),
}
"""A little less than each client lets a tool run."""
_CEILING = timedelta(seconds=50)
_TICK = timedelta(seconds=10)

Tick = Callable[[float], Awaitable[None]]
"""Told how many seconds the wait has lasted, every ten seconds."""


class Found(Enum):
    """How a wait ended."""

    OFFERED = auto()
    UNDER_WAY = auto()
    """The agent holds what it has accepted, and has not settled it."""
    NOTHING = auto()
    REPLACED = auto()
    """Another call has begun to wait; it will be the one to hear."""


@dataclass(frozen=True, slots=True)
class Waited:
    """What a wait brought."""

    found: Found
    handoff: Handoff | None = None


def ceiling_for(client_name: str | None) -> timedelta:
    """How long a call may wait, by the name that the client gives itself."""
    return _CEILINGS.get(client_name or "", _CEILING)


class Waiting:
    """The agent's wait: one at a time, the newest."""

    def __init__(self, place: Place, work: Work) -> None:
        self._place = place
        self._work = work
        self._newest: anyio.CancelScope | None = None

    async def wait(self, at_most: timedelta | None, tick: Tick | None = None) -> Waited:
        """Wait for the next handoff (None: without end); raise what `Place.post` raises."""
        if self._newest is not None:
            self._newest.cancel()
        with anyio.move_on_after(None if at_most is None else at_most.total_seconds()) as scope:
            self._newest = scope
            self._work.wait_begins()
            try:
                return await self._next(tick)
            finally:
                if self._newest is scope:
                    self._newest = None
                self._work.wait_ends()
        timed_out = anyio.current_time() >= scope.deadline
        return Waited(Found.NOTHING if timed_out else Found.REPLACED)

    async def _next(self, tick: Tick | None) -> Waited:
        async with background() as tasks:
            if tick is not None:
                tasks.start_soon(_keep_ticking, tick)
            return await self._given()

    async def _given(self) -> Waited:
        looks = vain_looks()
        while True:
            post = await self._place.post()
            row = await self._work.look()
            if row is not None:
                accepted = row.accepted_at is not None
                return Waited(Found.UNDER_WAY if accepted else Found.OFFERED, row)
            # Each time: a new registration, or the end of an attempt by force, may have unsaid it.
            await self._work.say(AgentState.IDLE)
            await post.bell.wait()
            looks.spend(0, now=anyio.current_time())
            await anyio.sleep(looks.rest(now=anyio.current_time()))


async def _keep_ticking(tick: Tick) -> None:
    began = anyio.current_time()
    while True:
        await anyio.sleep(_TICK.total_seconds())
        await tick(anyio.current_time() - began)
