"""Whether the endpoint is there, and what the agent says of that: blocked while it is not.

A handoff that is given to an agent whose endpoint is down loses an attempt. So the agent takes no
work until a ping was answered: it is registered as busy, says idle after the first answer, blocked
with the reason as soon as something could not be delivered, and idle again after the next answer.
What could not be delivered meanwhile, and is not about work on offer, goes first.

An endpoint that answers pings and nothing else must not eat attempts at the pace of its pings: the
pause before a ping grows until something else was answered, too.
"""

from collections import deque
from collections.abc import Callable
from datetime import timedelta

import anyio

from coordinator.agents.bell import Bell
from coordinator.agents.post import Post
from coordinator.agents.webhook.delivery import (
    LONGEST_REST,
    Delivery,
    pause_after,
    wall_clock,
)
from coordinator.agents.webhook.notices import Notice, ping
from coordinator.agents.webhook.replies import (
    Declined,
    Later,
    Meaning,
    Misconfigured,
    Settled,
    Taken,
    Unfit,
)
from coordinator.core.model import AgentState, BlockedReason, Heard

_FIRST_PAUSE = timedelta(seconds=1)
_SELDOM = 10
"""Somebody must mend something: no hurry, and no knocking at a stranger's door."""
_MOST_OWED = 100
_FEW = 10
_OTHERS_VERDICTS = (BlockedReason.STALE, BlockedReason.UNRESPONSIVE)

Tell = Callable[[str | None], None]
"""Told why the endpoint is not there; None once it is."""


def trouble(answer: Meaning) -> Later | Misconfigured | None:
    """Return what is wrong with the endpoint, by an answer; None for what it may say."""
    match answer:
        case Later() | Misconfigured():
            return answer
        case Declined(why, is_gone=True):
            return Misconfigured(f"{why}: it is gone")
        case Declined() | Taken() | Settled() | Unfit():
            return None


class Standing:
    """Keeps the agent's status in step with its endpoint."""

    def __init__(
        self, post: Post, delivery: Delivery, *, probe_every: timedelta, tell: Tell
    ) -> None:
        self.is_up = False
        """Something was answered last."""
        self._post = post
        self._delivery = delivery
        self._probe_every = probe_every
        self._tell = tell
        self._reason = "its webhook has not answered yet"
        self._down = Bell()
        self._up = anyio.Event()
        self._tries = 0
        """In vain, since something other than a ping was answered."""
        self._pause = timedelta(0)
        self._is_over = False
        self._ours: deque[str] = deque(maxlen=_FEW)
        """The reasons that we have given last; of two at once either may have come last."""
        self._owed: deque[Notice] = deque(maxlen=_MOST_OWED)

    def hear(self, heard: Heard) -> None:
        """Take a heartbeat's answer: after a silence the agent is idle, whatever it was before."""
        if heard.status is AgentState.IDLE and not self.is_up:
            self._down.ring()

    async def wait_until_up(self) -> None:
        """Return as soon as the endpoint is there."""
        while not self.is_up:
            await self._up.wait()

    def answered(self) -> None:
        """Note that something was answered that was no ping."""
        self._tries = 0

    def owe(self, notice: Notice) -> None:
        """Send this before anything else, once somebody is there again."""
        self._owed.append(notice)

    async def fell(self, why: Later | Misconfigured) -> None:
        """Say that the endpoint is not there; return once no further work will be given."""
        self._worsened(why)
        await self._say_blocked()
        self._down.ring()

    async def end(self, reason: str) -> None:
        """Take no more work, for good."""
        self._is_over, self._reason = True, reason
        await self._say_blocked()

    async def keep(self) -> None:
        """Ask for the endpoint until it answers, and again whenever it fell; for ever."""
        while True:
            if self.is_up or self._is_over:
                await self._down.wait()
                continue
            await self._rest()
            if not self._is_over:
                await self._probe()

    async def _probe(self) -> None:
        answer: Meaning = await self._delivery.once(ping(self._post.life, now=wall_clock()))
        while isinstance(answer, Taken) and self._owed:
            answer = await self._delivery.once(self._owed[0])
            if trouble(answer) is None:
                self._owed.popleft()
                answer = Taken()
        if isinstance(answer, Taken):
            await self._rose()
            return
        wrong = trouble(answer) or Misconfigured("it declines pings")
        before = self._reason
        self._worsened(wrong)
        if self._reason != before:
            await self._say_blocked()

    async def _rose(self) -> None:
        if self._is_over:
            return
        is_ours = await self._may_speak()
        self.is_up, self._post.away = True, False
        self._up.set()
        self._tell(None)
        if is_ours and not self._is_over:
            await self._say(AgentState.IDLE)
        self._post.bell.ring()

    def _worsened(self, why: Later | Misconfigured) -> None:
        self._tries += 1
        longest = self._probe_every
        asked = timedelta(0)
        match why:
            case Later(after=after):
                asked = min(timedelta(seconds=after or 0), LONGEST_REST)
                self._pause = pause_after(self._tries, first=_FIRST_PAUSE, longest=longest)
            case Misconfigured():
                seldom = longest * _SELDOM
                self._pause = pause_after(self._tries, first=longest, longest=seldom)
        self._pause = max(self._pause, asked)
        word = "unreachable" if isinstance(why, Later) else "misconfigured"
        reason = f"webhook {word}: {why.why}"[:500]
        if self.is_up or reason != self._reason:
            self._tell(reason)
        self.is_up, self._reason = False, reason
        self._post.away = True
        if self._up.is_set():  # whoever waits already, waits for this very one
            self._up = anyio.Event()

    async def _rest(self) -> None:
        until = anyio.current_time() + self._pause.total_seconds()
        while (left := until - anyio.current_time()) > 0 and not self._is_over:
            if await self._rang(timedelta(seconds=left)):
                await self._say_blocked()

    async def _rang(self, at_most: timedelta) -> bool:
        with anyio.move_on_after(at_most.total_seconds()):
            await self._down.wait()
            return True
        return False

    async def _say_blocked(self) -> None:
        if await self._may_speak():
            self._ours.append(self._reason)
            await self._say(AgentState.BLOCKED, self._reason)

    async def _may_speak(self) -> bool:
        """Whether nobody else has said, as the receiver or an operator may, that it is blocked."""
        row = await self._post.ask(lambda calls: calls.find_agent(self._post.life.agent_name))
        return row is None or row.blocked_reason in {None, *self._ours, *_OTHERS_VERDICTS}

    async def _say(self, state: AgentState, reason: str | None = None) -> None:
        await self._post.ask(
            lambda calls: calls.set_status(self._post.life, state, reason=reason, current_task=None)
        )
