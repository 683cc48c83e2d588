"""The agent's place: its connection and registration, made in the background and made again.

A client wants its first answer before a database could have given one. So the place begins empty,
and each tool waits a little for it; while it stays empty, the reason is what the tool answers.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from tenacity.wait import wait_random_exponential

from coordinator.agents.calls import AgentCalls
from coordinator.agents.post import Post
from coordinator.core.errors import ConfigError, CoordinatorError, RequestRefused, StoreUnavailable
from coordinator.core.hidden import Hidden
from coordinator.core.model import Heard, Life, Push

if TYPE_CHECKING:
    from coordinator.agents.station import Station

Answer = TypeVar("Answer")
Call = Callable[[AgentCalls, Life], Awaitable[Answer]]

ANSWER_WITHIN = timedelta(seconds=20)
_CONNECTED_WITHIN = timedelta(seconds=5)
_PAUSE = wait_random_exponential(multiplier=0.5, max=5)


class Place:
    """Where the agent stands, as soon as it does."""

    def __init__(
        self,
        way: str | Path,
        agent_name: str,
        *,
        roles: Sequence[str],
        heartbeat_interval: timedelta,
    ) -> None:
        """Prepare; `way` is the DSN of a database, or the socket of a runner."""
        self.agent_name = agent_name
        self.roles = tuple(roles)
        self.overheard: Callable[[Push], None] | None = None
        """Told of each push to the agent."""
        self.heard: Callable[[Heard], None] | None = None
        """Told of each heartbeat's answer."""
        self._way = way if isinstance(way, Path) else Hidden(way)
        self._heartbeat_interval = heartbeat_interval
        self._post: Post | None = None
        self._trouble: CoordinatorError | None = None
        self._final = False
        self._changed = anyio.Event()

    async def keep(self) -> None:
        """Connect, register and stay, until cancelled; then leave.

        Tries again for ever where time or an operator may help, and not where the database refuses
        the name or the roles.
        """
        trying = AsyncRetrying(
            wait=_PAUSE, retry=retry_if_exception(_may_pass), before_sleep=self._remember
        )
        try:
            await trying(self._stand)
        except RequestRefused as refused:
            self._final = True
            self._tell(refused)

    async def post(self) -> Post:
        """Return the agent's post; raise what is in the way of it after five seconds.

        Raises RequestRefused with code ZH002 once another process has registered under this name.
        """
        with anyio.move_on_after(_CONNECTED_WITHIN.total_seconds()):
            while self._post is None and not self._final:
                await self._changed.wait()
        if self._post is None:
            raise self._trouble or StoreUnavailable("the database has not answered yet")
        if self._post.over is not None:
            raise self._post.over
        return self._post

    async def ask(self, call: Call[Answer]) -> Answer:
        """Make a call as this agent; raise StoreUnavailable where no answer comes in 20 seconds."""
        post = await self.post()
        try:
            with anyio.fail_after(ANSWER_WITHIN.total_seconds()):
                return await post.ask(lambda calls: call(calls, post.life))
        except TimeoutError:
            raise StoreUnavailable(
                "the database does not answer",
                f"nothing came within {ANSWER_WITHIN.seconds} seconds, and it is not known whether"
                " the call was carried out",
            ) from None

    def look_again(self) -> None:
        """Make whoever waits for work look at what there is, and say again that it waits."""
        if self._post is not None:
            self._post.bell.ring()

    def _station(self) -> "AbstractAsyncContextManager[Station]":
        # Only now: the driver takes a while to load, and the first answer does not need it.
        from coordinator.agents.station import Station
        from coordinator.agents.wire import dial

        if isinstance(self._way, Path):
            return Station.over(
                partial(dial, self._way), heartbeat_interval=self._heartbeat_interval
            )
        return Station.open(
            self._way,
            heartbeat_interval=self._heartbeat_interval,
            application_name=f"mcp {self.agent_name}",
        )

    async def _stand(self) -> None:
        async with (
            self._station() as station,
            station.post(
                self.agent_name, roles=self.roles, metadata={"speaks": "mcp"}, away=True
            ) as post,
        ):
            post.overheard, post.heard = self.overheard, self.heard
            self._post = post
            self._tell(None)
            try:
                await anyio.sleep_forever()
            finally:
                self._post = None

    def _remember(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, CoordinatorError):
            self._tell(error)

    def _tell(self, trouble: CoordinatorError | None) -> None:
        self._trouble = trouble
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, RequestRefused):
        # The schema or a right may not be there yet; a name that a rule forbids stays forbidden.
        return error.code.startswith(("42", "3F"))
    return isinstance(error, StoreUnavailable | ConfigError)
