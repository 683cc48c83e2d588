"""The ends of what this agent sent, told to the receiver.

A push names such an end. It is a hint that may be forged or lost: a forged one is found out by
looking at the row, and a lost one stays lost, since nothing lists what an agent has sent. Receivers
that must know ask for the handoff themselves.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import anyio

from coordinator.agents.bell import Bell
from coordinator.agents.post import Post, vain_looks
from coordinator.agents.webhook.delivery import Delivery, wall_clock
from coordinator.agents.webhook.notices import Notice, ended
from coordinator.agents.webhook.standing import Standing, trouble
from coordinator.core.errors import RequestRefused
from coordinator.core.model import Handoff, Push

_TRIED_FOR = timedelta(minutes=10)
"""While the endpoint answers pings; while it is down the news wait."""
_MOST_WAITING = 1000

Tell = Callable[[str], None]
"""Told what the receiver will never hear, and why."""


class News:
    """What is still to be told."""

    def __init__(
        self,
        post: Post,
        delivery: Delivery,
        standing: Standing,
        *,
        longest_pause: timedelta,
        tell: Tell,
    ) -> None:
        self._post = post
        self._delivery = delivery
        self._standing = standing
        self._longest_pause = longest_pause
        self._tell = tell
        self._waiting: OrderedDict[UUID, None] = OrderedDict()
        self._told: deque[str] = deque(maxlen=_MOST_WAITING)
        self._come = Bell()

    def hear(self, push: Push) -> None:
        """Take a push; what does not fit in the queue pushes the oldest out."""
        if push.event not in ("succeeded", "failed", "cancelled"):
            return
        self._waiting[push.handoff_id] = None
        if len(self._waiting) > _MOST_WAITING:
            self._waiting.popitem(last=False)
        self._come.ring()

    async def spread(self) -> None:
        """Tell the receiver, for ever."""
        looks = vain_looks()
        while True:
            await self._come.wait()
            while self._waiting:
                handoff_id, _ = self._waiting.popitem(last=False)
                row = await self._row(handoff_id)
                if row is not None and row.outcome is not None:
                    notice = ended(self._post.life, row, row.outcome, now=wall_clock())
                    if notice.id not in self._told:
                        self._told.append(notice.id)
                        await self._deliver(notice, row.id)
                        continue
                looks.spend(0, now=anyio.current_time())
                await anyio.sleep(looks.rest(now=anyio.current_time()))

    async def _row(self, handoff_id: UUID) -> Handoff | None:
        """Read the handoff; None where it is not there or not this agent's."""
        try:
            row = await self._post.ask(lambda calls: calls.handoff(handoff_id))
        except RequestRefused:
            return None
        return row if row is not None and row.from_agent == self._post.life.agent_name else None

    async def _deliver(self, notice: Notice, handoff_id: UUID) -> None:
        while True:
            await self._standing.wait_until_up()
            answer = await self._delivery.deliver(
                notice,
                within=_TRIED_FOR,
                longest_pause=self._longest_pause,
                goes_on=lambda: self._standing.is_up,
            )
            wrong = trouble(answer)
            if wrong is None:
                return
            if self._standing.is_up:
                self._tell(f"the end of handoff {handoff_id} could not be delivered: {wrong.why}")
                return
