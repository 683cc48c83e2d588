"""One notice until it has an answer: signed anew each time, with growing pauses in between."""

import random
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import count

import anyio

from coordinator.agents.webhook.notices import Notice
from coordinator.agents.webhook.replies import Later, Meaning, Misconfigured, meaning
from coordinator.agents.webhook.signing import Signer
from coordinator.agents.webhook.wire import Unreached, Wire

LONGEST_REST = timedelta(minutes=10)
"""What a Retry-After may ask for."""
_FIRST_PAUSE = timedelta(milliseconds=500)
_CHANCE = random.SystemRandom()


def wall_clock() -> float:
    """Return the seconds since 1970: receivers compare signatures with their own clocks."""
    return time.time()


def pause_after(tries: int, *, first: timedelta, longest: timedelta) -> timedelta:
    """How long to wait after so many tries (from 1) in vain: doubling, with equal jitter."""
    ceiling = min(first * (1 << min(tries - 1, 30)), longest)
    return ceiling * _CHANCE.uniform(0.5, 1)


class Delivery:
    """Sends notices to one receiver."""

    def __init__(self, wire: Wire, signer: Signer, *, limit: timedelta) -> None:
        self._wire = wire
        self._signer = signer
        self._limit = limit
        """For one request, whole."""

    async def once(self, notice: Notice, *, within: timedelta | None = None) -> Meaning:
        """Send it once, and return what the answer means."""
        now = wall_clock()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "agent-coordinator",
            **self._signer.headers(notice.id, notice.body, now=int(now)),
        }
        try:
            reply = await self._wire.post(
                headers,
                notice.body,
                within=min(within or self._limit, self._limit),
                wants_answer=notice.kind == "handoff.dispatched",
            )
        except Unreached as unreached:
            return Misconfigured(unreached.why) if unreached.lasting else Later(unreached.why)
        return meaning(reply, now=now)

    async def deliver(
        self,
        notice: Notice,
        *,
        within: timedelta,
        longest_pause: timedelta,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> Meaning:
        """Send it until there is an answer other than Later; return Later when the time is up.

        Between two tries `goes_on` may end it.
        """
        until = anyio.current_time() + within.total_seconds()
        for tries in count(1):
            left = timedelta(seconds=until - anyio.current_time())
            answer = await self.once(notice, within=left)
            if not isinstance(answer, Later):
                return answer
            pause = pause_after(tries, first=_FIRST_PAUSE, longest=longest_pause)
            asked = min(timedelta(seconds=answer.after or 0), LONGEST_REST)
            wake = anyio.current_time() + max(pause, asked).total_seconds()
            if wake >= until or not goes_on():
                return answer
            await anyio.sleep_until(wake)
        raise AssertionError("it counts for ever")
