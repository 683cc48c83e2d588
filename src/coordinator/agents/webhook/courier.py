"""The handoff in hand: offered to the receiver, taken up in its place, and watched until its end.

A handoff is accepted only once the receiver has it: until then it is offered again and again, for
most of the time that an agent has to accept. What nobody took goes back, after the agent has said
that it is blocked, so that no second attempt is lost. The receiver settles by its own calls, with
the token that it was sent; the courier finds out by looking, as any push or heartbeat makes it do.

Everything about one handoff is sent from one task, so it arrives in order. A notice about work in
hand that cannot be delivered is owed, and goes first once the endpoint is there again.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never
from uuid import UUID

import anyio

from coordinator.agents.bell import Bell
from coordinator.agents.post import LAST_WORD_WITHIN, Post, vain_looks
from coordinator.agents.webhook.delivery import Delivery, wall_clock
from coordinator.agents.webhook.notices import Notice, cancel_requested, dispatched, taken_back
from coordinator.agents.webhook.replies import (
    Declined,
    Failed,
    Later,
    Meaning,
    Misconfigured,
    Settled,
    Succeeded,
    Taken,
    Unfit,
)
from coordinator.agents.webhook.standing import Standing, trouble
from coordinator.agents.webhook.words import Words
from coordinator.core.errors import Refusal, RequestRefused
from coordinator.core.model import Handoff, Token, Verdict

_LONGEST_PAUSE = timedelta(seconds=5)
_AT_ONCE = timedelta(0)
_STOPPED = "the process of its webhook was stopped"


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of one attempt.

    `outcome` is `taken`, `succeeded`, `failed`, `retry`, `declined`, `undelivered`, `settled` (by
    the receiver's own call), `lost` or `given back`.
    """

    handoff_id: UUID
    attempt: int
    outcome: str
    trouble: str | None = None


class InHand:
    """An attempt that the receiver was offered, as the line sees it."""

    def __init__(self, token: Token, changed: Bell) -> None:
        self.token = token
        self.is_lost = False
        self.is_cancelled = False
        self.was_sent = False
        self.cancel_is_told = False
        self._changed = changed

    def lose(self, why: str) -> None:
        """Note that the attempt no longer stands; it may be the receiver itself who ended it."""
        self.is_lost = True
        self._changed.ring()

    def cancel(self) -> None:
        """Note that somebody asked to stop the work."""
        self.is_cancelled = True
        self._changed.ring()


class Courier:
    """Offers handoffs to one receiver, one at a time."""

    def __init__(
        self,
        post: Post,
        delivery: Delivery,
        standing: Standing,
        *,
        deliver_within: timedelta,
        tell: Callable[[Answered], None],
    ) -> None:
        self.at_rest = anyio.Event()
        """Set once nothing is in hand, after a request to stop."""
        self._post = post
        self._words = Words(post)
        self._delivery = delivery
        self._standing = standing
        self._deliver_within = deliver_within
        self._tell = tell
        self._in_hand: InHand | None = None
        self._is_stopping = False

    async def serve(self) -> None:
        """Go on until cancelled; raise RequestRefused once another process has the name."""
        looks = vain_looks()
        while True:
            await self._post.bell.wait()
            if not await self._look():
                looks.spend(0, now=anyio.current_time())
                await anyio.sleep(looks.rest(now=anyio.current_time()))
                continue
            while await self._look():
                pass

    def stop(self) -> None:
        """Offer nothing more; `at_rest` tells when the receiver is through."""
        self._is_stopping = True
        self._post.bell.ring()

    async def give_back(self) -> None:
        """Say that what is in hand was not done, and tell the receiver; within seconds."""
        held = self._in_hand
        if held is None:
            return
        verdict = None
        with anyio.move_on_after(LAST_WORD_WITHIN.total_seconds()), suppress(RequestRefused):
            verdict = await self._words.fail(held.token, _STOPPED, retry=True, retry_in=_AT_ONCE)
        self._put_down()
        if verdict is Verdict.APPLIED:
            self._say(held.token, "given back")
            await self._delivery.once(self._taken_back(held), within=LAST_WORD_WITHIN)

    async def _look(self) -> bool:
        """Look what the agent holds, and do what there is to do; return whether there was any."""
        held = self._in_hand
        if self._post.over is not None:
            if held is not None:
                await self._delivery.once(self._taken_back(held), within=LAST_WORD_WITHIN)
            raise self._post.over
        row = await self._words.held()
        if held is not None and (row is None or row.token != held.token):
            await self._ended(held)
        elif row is not None and held is None:
            await self._offer(row)
        elif held is not None and held.is_cancelled and not held.cancel_is_told:
            await self._pass_on_cancel(held)
        elif row is None:
            await self._come_forward()
            return False
        else:
            return False
        return True

    async def _come_forward(self) -> None:
        if self._is_stopping:
            self.at_rest.set()
        elif self._post.unresponsive and self._standing.is_up:
            # The receiver works on nothing, and saying so lifts the verdict.
            await self._words.say_idle()

    async def _offer(self, row: Handoff) -> None:
        held = self._in_hand = self._post.body = InHand(row.token, self._post.bell)
        notice = dispatched(self._post.life, row, now=wall_clock())
        if row.accepted_at is not None:
            # The answer to our own acceptance was lost, and the receiver has it.
            return
        if self._is_stopping or not self._standing.is_up:
            await self._undelivered(held, Later("it was given while the endpoint was away"))
            return
        held.was_sent = True
        answer = await self._delivery.deliver(
            notice,
            within=self._deliver_within,
            longest_pause=_LONGEST_PAUSE,
            goes_on=lambda: not (held.is_lost or self._is_stopping),
        )
        await self._heed(held, answer)

    async def _heed(self, held: InHand, answer: Meaning) -> None:
        match answer:
            case Taken():
                self._standing.answered()
                await self._accept(held)
            case Settled(word):
                self._standing.answered()
                await self._settle(held, word)
            case Unfit(why):
                self._standing.answered()
                await self._settle(held, Failed(outcome="failed", error=why, retry=False), why)
            case Declined(why):
                await self._decline(held, answer, why)
            case Later() | Misconfigured():
                await self._undelivered(held, answer)
            case _:
                assert_never(answer)

    async def _accept(self, held: InHand) -> None:
        row = await self._words.accept(held.token)
        if row is None:
            await self._ended(held)
            return
        held.is_cancelled = held.is_cancelled or row.cancel_requested
        self._say(held.token, "taken")

    async def _settle(
        self, held: InHand, word: Succeeded | Failed, wrong: str | None = None
    ) -> None:
        token, outcome = held.token, "succeeded"
        try:
            match word:
                case Succeeded(result=result):
                    verdict = await self._words.complete(token, result)
                case Failed(error=error, retry=retry, result=result):
                    outcome = "retry" if retry else "failed"
                    verdict = await self._words.fail(token, error, retry=retry, result=result)
        except RequestRefused as refused:
            if refused.refusal is Refusal.SUPERSEDED:
                raise
            # The result was not taken, such as one that is too large.
            outcome, wrong = "failed", refused.what.partition("\n")[0]
            verdict = await self._words.fail(token, f"its answer was refused: {wrong}", retry=False)
        if verdict is Verdict.STALE:
            await self._ended(held)
            return
        self._put_down()
        self._say(token, outcome, wrong)

    async def _decline(self, held: InHand, answer: Declined, why: str) -> None:
        if (wrong := trouble(answer)) is not None:
            await self._standing.fell(wrong)
        else:
            self._standing.answered()
        verdict = await self._words.fail(held.token, f"its webhook declined it: {why}", retry=True)
        await self._given_up(held, verdict, "declined", why)

    async def _undelivered(self, held: InHand, why: Later | Misconfigured) -> None:
        if not (held.is_lost or self._is_stopping):
            # First, so that the next handoff does not come and lose an attempt as well.
            await self._standing.fell(why)
        reason = f"it could not be delivered to its webhook: {why.why}"
        verdict = await self._words.fail(held.token, reason, retry=True, retry_in=_AT_ONCE)
        await self._given_up(held, verdict, "undelivered", why.why)

    async def _given_up(self, held: InHand, verdict: Verdict, outcome: str, why: str) -> None:
        if verdict is Verdict.STALE:
            await self._ended(held)
            return
        self._put_down()
        self._say(held.token, outcome, why)
        # It may have arrived all the same, and only the answer was lost.
        if outcome == "undelivered" and held.was_sent:
            if self._is_stopping:
                await self._delivery.once(self._taken_back(held), within=LAST_WORD_WITHIN)
            else:
                self._standing.owe(self._taken_back(held))

    async def _pass_on_cancel(self, held: InHand) -> None:
        if not self._standing.is_up:
            return
        held.cancel_is_told = True
        notice = cancel_requested(self._post.life, held.token, now=wall_clock())
        await self._insist(notice, goes_on=lambda: not held.is_lost)

    async def _ended(self, held: InHand) -> None:
        """Find out who ended it; a receiver that did not is told."""
        was_settled = await self._words.was_settled(held.token)
        self._put_down()
        if was_settled:
            self._say(held.token, "settled")
            return
        self._say(held.token, "lost")
        if await self._insist(self._taken_back(held)):
            # A late word shows that the work has ended, which makes an unresponsive agent idle.
            with suppress(RequestRefused):
                await self._words.fail(held.token, "it was taken back from its webhook", retry=True)

    async def _insist(self, notice: Notice, *, goes_on: Callable[[], bool] = lambda: True) -> bool:
        """Deliver a notice about work in hand, or owe it; return whether it was delivered."""
        if not self._standing.is_up:
            self._standing.owe(notice)
            return False
        answer = await self._delivery.deliver(
            notice,
            within=self._deliver_within,
            longest_pause=_LONGEST_PAUSE,
            goes_on=goes_on,
        )
        wrong = trouble(answer)
        if wrong is None:
            self._standing.answered()
            return True
        if goes_on():
            self._standing.owe(notice)
            await self._standing.fell(wrong)
        return False

    def _taken_back(self, held: InHand) -> Notice:
        return taken_back(self._post.life, held.token, now=wall_clock())

    def _put_down(self) -> None:
        self._in_hand = self._post.body = None

    def _say(self, token: Token, outcome: str, wrong: str | None = None) -> None:
        self._tell(Answered(token.handoff_id, token.attempt, outcome, wrong))
