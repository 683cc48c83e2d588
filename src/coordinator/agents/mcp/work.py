"""What the agent has in hand: taken up by one tool call and ended by another.

`HeldHandoff` ends its work with the block that began it. A model's work has no block, so this
stands in its place at the agent's post: heartbeats tell it when the attempt is lost or cancelled.

A model is not always there. Between its calls it may be busy with its user, or have ended its turn
for good, and work given to it then would lie unaccepted and lose an attempt. So the agent is given
work only while it waits for some: it is `working` from registration on, though it holds nothing, is
idle while `wait_for_handoff` lasts and for a short while after, and is `working` again once it has
settled an attempt, all in the same transaction.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import anyio

from coordinator.agents.bell import Bell
from coordinator.agents.mcp.place import Call, Place
from coordinator.core.errors import CoordinatorError, LeaseLost, Refusal, RequestRefused
from coordinator.core.model import AgentState, Handoff, Heard, NewHandoff, Token, Verdict

Answer = TypeVar("Answer")

_COMES_BACK_WITHIN = timedelta(seconds=15)
"""A model that goes on waiting calls again in this time; another one is somewhere else."""
_NO_LONGER_OURS = {Refusal.STALE_ATTEMPT, Refusal.UNKNOWN_HANDOFF}


class TakenUp:
    """A handoff that the model works on, as the line sees it."""

    def __init__(self, token: Token) -> None:
        self.token = token

    def lose(self, why: str) -> None:
        """Do nothing: a model cannot be stopped from here. Its next call about it is refused."""

    def cancel(self) -> None:
        """Do nothing: its next report of progress says so."""


class Work:
    """The agent's work in hand, if any."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._in_hand: TakenUp | None = None
        self.waits = 0
        """How many calls wait for a handoff now."""
        self.own_word = False
        """The model has said itself that it takes no work, since the last wait began."""
        self._wait_ended = Bell()
        self._ended_at = -_COMES_BACK_WITHIN.total_seconds()

    @property
    def handoff_id(self) -> UUID | None:
        """The handoff that the model works on."""
        return self._in_hand.token.handoff_id if self._in_hand else None

    async def look(self) -> Handoff | None:
        """Read what the agent holds, and note what that says of the work in hand."""
        row = await self._place.ask(lambda calls, life: calls.held(life))
        if row is None or (self._in_hand and self._in_hand.token != row.token):
            await self._hold(None)
        if row is not None and row.accepted_at is not None:
            await self._hold(row.token)
        return row

    async def accept(self, token: Token) -> Handoff:
        """Take up an attempt; raise LeaseLost where it no longer stands."""
        row = await self._ours(token, lambda calls, life: calls.accept(life, token))
        await self._hold(token)
        return row

    async def report(self, token: Token, *, note: str, percent: float | None) -> bool:
        """Record progress; return whether the work should stop. Raises LeaseLost."""
        detail = {} if percent is None else {"percent": percent}
        return await self._ours(
            token, lambda calls, life: calls.report_progress(life, token, note=note, detail=detail)
        )

    async def complete(
        self, token: Token, *, result: Any, follow_ups: Sequence[NewHandoff]
    ) -> Verdict:
        """Complete, and hand on in the same transaction; raise LeaseLost for a stale token."""
        return await self._settle(
            token,
            lambda calls, life: calls.complete(
                life, token, result=result, follow_ups=follow_ups, away=True
            ),
        )

    async def fail(
        self,
        token: Token,
        *,
        reason: str,
        retry: bool,
        retry_in: timedelta | None = None,
        result: Any = None,
    ) -> Verdict:
        """Fail or decline; raise LeaseLost for a stale token."""
        return await self._settle(
            token,
            lambda calls, life: calls.fail(
                life, token, error=reason, retry=retry, retry_in=retry_in, result=result, away=True
            ),
        )

    async def say(
        self, state: AgentState, reason: str | None = None, *, current_task: str | None = None
    ) -> AgentState:
        """Say what the agent does; return what now stands."""
        return await self._place.ask(
            lambda calls, life: calls.set_status(
                life, state, reason=reason, current_task=current_task
            )
        )

    async def go_away(self) -> Handoff | None:
        """Take no more work, unless a call waits for some by now; return what is in hand.

        That may be something that was given at this very moment.
        """
        row = await self.look()
        if row is None and not self.waits and not self.own_word:
            await self.say(AgentState.WORKING)
            row = await self.look()
        return row

    def wait_begins(self) -> None:
        """Note that a call waits."""
        self.waits += 1
        self.own_word = False

    def wait_ends(self) -> None:
        """Note that a call has stopped waiting."""
        self.waits -= 1
        self._ended_at = anyio.current_time()
        self._wait_ended.ring()

    def hear(self, heard: Heard) -> None:
        """Take a heartbeat's answer: the agent may be idle though nobody waits, or the reverse.

        The first is so after a silence, or when its attempt was taken back; the second where two
        words of ours have overtaken each other, as they may when a connection is lost.
        """
        if heard.token is not None:
            return
        if heard.status is AgentState.IDLE and self._is_away():
            self._wait_ended.ring()
        elif heard.status is AgentState.WORKING and self.waits:
            self._place.look_again()

    async def keep_away(self) -> None:
        """Take the agent out of the dispatch when its model does not come back, for ever."""
        while True:
            await self._wait_ended.wait()
            await anyio.sleep_until(self._back_by)
            if not self._is_away():
                continue
            with suppress(CoordinatorError):  # the next call will tell
                await self.go_away()

    @property
    def _back_by(self) -> float:
        return self._ended_at + _COMES_BACK_WITHIN.total_seconds()

    def _is_away(self) -> bool:
        return not self.waits and not self.own_word and anyio.current_time() >= self._back_by

    async def _settle(self, token: Token, word: Call[Verdict]) -> Verdict:
        verdict = await self._ours(token, word)
        if self._in_hand and self._in_hand.token == token:
            await self._hold(None)
        if verdict is Verdict.STALE:
            # It shows that the body has ended, which makes an unresponsive agent idle.
            await self.say(AgentState.WORKING)
            raise LeaseLost(token.handoff_id, token.attempt, "it was ended or taken back")
        return verdict

    async def _ours(self, token: Token, call: Call[Answer]) -> Answer:
        try:
            return await self._place.ask(call)
        except RequestRefused as refused:
            if refused.refusal not in _NO_LONGER_OURS:
                raise
            raise LeaseLost(token.handoff_id, token.attempt, refused.what) from refused

    async def _hold(self, token: Token | None) -> None:
        post = await self._place.post()
        if token is None:
            self._in_hand = None
        elif self._in_hand is None or self._in_hand.token != token:
            self._in_hand = TakenUp(token)
        post.body = self._in_hand
