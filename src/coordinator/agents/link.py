"""A connection that comes back by itself, and calls that wait for their answer.

A call whose answer is lost is made again on the next connection; every call may be repeated, so
the caller sees one answer, however many connections it took. Waiting has no end of its own: put a
time limit around it where there should be one.
"""

from collections.abc import Awaitable, Callable
from typing import Self, TypeVar

import anyio
from tenacity import AsyncRetrying, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from coordinator.agents.calls import AgentCalls, Dial
from coordinator.core.errors import ConfigError, StoreUnavailable

Answer = TypeVar("Answer")

# Full jitter, in seconds: a server that comes back must not meet all its agents at once.
# No longer than this: after a failover of half a minute, work would wait for its agents.
_LONGEST_PAUSE_S = 5
_RECONNECT_PAUSE = wait_random_exponential(multiplier=1, max=_LONGEST_PAUSE_S)
_REPEAT_PAUSE = wait_random_exponential(multiplier=0.2, max=_LONGEST_PAUSE_S)


class Link:
    """The one connection that a process's agents share."""

    def __init__(self, dial: Dial, calls: AgentCalls) -> None:
        self._dial = dial
        self._calls = calls
        self._replaced = anyio.Event()

    @classmethod
    async def open(cls, dial: Dial) -> Self:
        """Connect once; raise StoreUnavailable or ConfigError if that fails."""
        return cls(dial, await dial())

    async def keep(self, greet: Callable[[AgentCalls], Awaitable[None]]) -> None:
        """Replace the connection whenever it is lost, for ever.

        `greet` brings each new one into force before anybody else uses it.
        """
        while True:
            await self._calls.lost.wait()
            # A login refused or a database missing may be a restore under way: waited out as well.
            async for attempt in AsyncRetrying(
                wait=_RECONNECT_PAUSE,
                retry=retry_if_exception_type((StoreUnavailable, ConfigError)),
            ):
                with attempt:
                    calls = await self._dial()
                    await _greeted(calls, greet)
            self._calls = calls
            replaced, self._replaced = self._replaced, anyio.Event()
            replaced.set()

    async def calls(self) -> AgentCalls:
        """Return the connection that stands, as soon as one does."""
        while self._calls.lost.is_set():
            await self._replaced.wait()
        return self._calls

    async def insist(self, ask: Callable[[AgentCalls], Awaitable[Answer]]) -> Answer:
        """Ask until there is an answer; RequestRefused is one."""
        retrying = AsyncRetrying(
            wait=_REPEAT_PAUSE, retry=retry_if_exception_type(StoreUnavailable)
        )

        async def once() -> Answer:
            return await ask(await self.calls())

        return await retrying(once)

    async def close(self) -> None:
        """Say goodbye."""
        await self._calls.close()


async def _greeted(calls: AgentCalls, greet: Callable[[AgentCalls], Awaitable[None]]) -> None:
    try:
        await greet(calls)
    except BaseException:
        calls.hang_up()
        raise
