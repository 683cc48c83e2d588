"""One handoff in an agent's hands: `async with` takes it up, runs the body and says how it ended.

How the body ends, and what is said:

    clean exit                         complete, with `result` and `follow_ups` in one transaction
    clean exit after `fail()`          fail, with that reason
    GiveUp                             fail, and do not try again
    any other Exception                fail, and try again while attempts are left; it is told to
                                       the agent's `on_error` and goes no further: the agent lives
    somebody cancelled the handoff     the body is cancelled; fail, which ends it as cancelled
    the attempt no longer stands       the body is cancelled; LeaseLost comes out
    the program itself is cancelled    fail (it is tried again), in five seconds at most; the
                                       cancellation goes on

What is said is repeated until it is answered, over as many connections as that takes; the verdict
tells whether it counted. A lost attempt is answered for as well: that word is kept as evidence, and
shows the database that the body has ended.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from traceback import format_exception_only
from types import TracebackType
from typing import Any, Self, assert_never
from uuid import UUID

import anyio

from coordinator.agents.post import LAST_WORD_WITHIN, Post
from coordinator.core.errors import LeaseLost, Refusal, RequestRefused
from coordinator.core.model import Handoff, Json, NewHandoff, Outcome, Token, Verdict
from coordinator.core.nul import holds_nul

NO_LONGER_OURS = {
    Refusal.STALE_ATTEMPT,
    Refusal.SUPERSEDED,
    Refusal.UNKNOWN_AGENT,
    Refusal.UNKNOWN_HANDOFF,
}
"""What is refused since the attempt, or its agent's life, is over."""
_LONGEST_REASON = 4000
"""Characters of a failure's reason that are kept."""


class GiveUp(Exception):
    """Raised by a body: this handoff has failed for good, and trying again would not help."""

    def __init__(self, reason: str, *, result: Any = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.result = result


@dataclass(frozen=True, slots=True)
class _Done:
    result: Any
    follow_ups: tuple[NewHandoff, ...]


@dataclass(frozen=True, slots=True)
class _Failed:
    reason: str
    retry: bool = True
    retry_in: timedelta | None = None
    result: Any = None


class _Stage(Enum):
    OFFERED = auto()
    ENTERED = auto()
    OVER = auto()


class HeldHandoff:
    """A handoff that this agent was given. Enter it with `async with`; see the module's head."""

    def __init__(
        self,
        post: Post,
        row: Handoff,
        *,
        on_error: Callable[["HeldHandoff", Exception], None],
        taken_up: bool = False,
    ) -> None:
        self.row = row
        """The handoff as it was when it was taken up."""
        self.result: Any = None
        """What a clean exit completes it with: any JSON value."""
        self.follow_ups: list[NewHandoff] = []
        """What a clean exit hands on, in the same transaction."""
        self.verdict: Verdict | None = None
        """What became of what was said at the end of the block; None until that is answered."""
        self._post = post
        self._on_error = on_error
        self._taken_up = taken_up
        self._failure: _Failed | None = None
        self._scope = anyio.CancelScope()
        self._stage = _Stage.OFFERED
        self._lost: str | None = None
        self._settled: Outcome | None = None

    @property
    def id(self) -> UUID:
        """The handoff's id."""
        return self.row.id

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self.row.attempt

    @property
    def token(self) -> Token:
        """The attempt that this body works on."""
        return self.row.token

    @property
    def from_agent(self) -> str:
        """Who handed it off."""
        return self.row.from_agent

    @property
    def to_agent(self) -> str:
        """The address it was sent to: this agent's name or one of its roles."""
        return self.row.to_agent

    @property
    def task_description(self) -> str:
        """What is to be done."""
        return self.row.task_description

    @property
    def context(self) -> Json:
        """What the sender gave along."""
        return self.row.context

    @property
    def was_passed_over(self) -> bool:
        """Whether it was never entered."""
        return self._stage is _Stage.OFFERED

    @property
    def is_over(self) -> bool:
        """Whether it was entered, and has been answered for."""
        return self._stage is _Stage.OVER

    def succeed(self, result: Any = None, *, then: Iterable[NewHandoff] = ()) -> None:
        """Complete with this when the body ends cleanly, and hand on what follows."""
        self._failure = None
        self.result = result
        self.follow_ups = list(then)

    def fail(
        self,
        reason: str,
        *,
        retry: bool = True,
        retry_in: timedelta | None = None,
        result: Any = None,
    ) -> None:
        """Fail for this reason when the body ends; without `retry`, for good.

        `retry_in` is the pause before the next attempt; by default the database's, which doubles.
        """
        self._failure = _Failed(reason, retry, retry_in, result)

    def settled(self, outcome: Outcome, verdict: Verdict | None = None) -> None:
        """Say at the end only what another program has said already, by this very token.

        It has succeeded or failed; the body may be cancelled in the meantime, and no LeaseLost
        comes of it. With `verdict`, which that program was answered, nothing is said any more.
        """
        self._settled = outcome
        self.verdict = verdict

    async def look(self) -> Handoff | None:
        """Read the handoff as it is now; None where it was deleted."""
        return await self._post.ask(lambda calls: calls.handoff(self.id))

    async def report_progress(self, note: str | None = None, **detail: Any) -> None:
        """Record a note on the work under way; wait while the database is away.

        Raises LeaseLost where the attempt no longer stands.
        """
        try:
            cancel_requested = await self._post.ask(
                lambda calls: calls.report_progress(
                    self._post.life, self.token, note=note, detail=detail
                )
            )
        except RequestRefused as refused:
            if refused.refusal in NO_LONGER_OURS:
                self.lose(refused.what)
                raise self._lease_lost() from refused
            raise
        if cancel_requested:
            self.cancel()

    def lose(self, why: str) -> None:
        """Stop the body: the attempt no longer stands. LeaseLost comes out of the block."""
        if self._lost is None:
            self._lost = why
            self._scope.cancel()

    def cancel(self) -> None:
        """Stop the body: somebody asked for that. The handoff ends as cancelled."""
        self._scope.cancel()

    async def __aenter__(self) -> Self:
        """Take it up; raise LeaseLost where that is no longer possible."""
        if self._stage is not _Stage.OFFERED:
            raise RuntimeError(f"handoff {self.id} was entered already")
        self._stage = _Stage.ENTERED
        self._post.begin(self)
        if not self._taken_up:
            await self._accept()
        self._scope.__enter__()
        if self.row.cancel_requested:
            self.cancel()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Say how it ended; see the module's head."""
        try:
            stopped = self._scope.__exit__(kind, error, trace)
        except BaseExceptionGroup as rest:
            # Our cancellation was one of several exceptions; the others remain.
            stopped, error = False, rest
        self._put_down()
        if error is not None and not stopped and not isinstance(error, Exception):
            with anyio.move_on_after(LAST_WORD_WITHIN.total_seconds(), shield=True):
                await self._say(_Failed("the agent's program was stopped"))
            return False
        verdict = await self._answer_for(None if stopped else error, stopped=stopped)
        if isinstance(error, LeaseLost) and error.handoff_id == self.id:
            return False
        is_lost = self._lost is not None or verdict is Verdict.STALE
        if is_lost and self._settled is None:
            raise self._lease_lost() from error
        return True

    async def _accept(self) -> None:
        try:
            self.row = await self._post.ask(lambda calls: calls.accept(self._post.life, self.token))
        except RequestRefused as refused:
            self._put_down()
            if refused.refusal in NO_LONGER_OURS:
                self._lost = refused.what
                raise self._lease_lost() from refused
            raise
        except BaseException:
            self._post.body = None
            raise

    async def _answer_for(self, error: BaseException | None, *, stopped: bool) -> Verdict:
        if self._settled is not None and self.verdict is not None:
            return self.verdict
        word = self._word(error, stopped=stopped)
        try:
            _check_json(word)
        except (TypeError, ValueError, RecursionError) as unfit:
            # The body's own mistake, like an exception in it: the agent lives.
            word, error = _Failed(f"its result or a follow-up is no JSON: {unfit}"), unfit
        try:
            verdict = await self._say_in_any_case(word)
        except RequestRefused as refused:
            # The result or a follow-up was not taken: the body's own mistake.
            verdict = await self._say_in_any_case(_Failed(_reason(refused)))
            error = refused
        if isinstance(error, Exception) and not isinstance(error, GiveUp | LeaseLost):
            self._on_error(self, error)
        return verdict

    def _word(self, error: BaseException | None, *, stopped: bool) -> _Done | _Failed:
        if self._settled is not None:
            done = self._settled is Outcome.SUCCEEDED
            return _Done(None, ()) if done else _Failed("it was settled as failed", retry=False)
        if stopped and self._lost is None:
            return _Failed("cancelled on request", retry=False)
        if stopped:
            return _Failed(f"the body was stopped: {self._lost}")
        if isinstance(error, GiveUp):
            return _Failed(error.reason, retry=False, result=error.result)
        if error is not None:
            return _Failed(_reason(error))
        return self._failure or _Done(self.result, tuple(self.follow_ups))

    async def _say_in_any_case(self, word: _Done | _Failed) -> Verdict:
        try:
            return await self._say(word)
        except anyio.get_cancelled_exc_class():
            # The work is done; its result must not be lost to a cancellation that comes now.
            with anyio.move_on_after(LAST_WORD_WITHIN.total_seconds(), shield=True):
                await self._say(word)
            raise

    async def _say(self, word: _Done | _Failed) -> Verdict:
        self.verdict = await self._verdict_on(word)
        return self.verdict

    async def _verdict_on(self, word: _Done | _Failed) -> Verdict:
        life, token = self._post.life, self.token
        try:
            match word:
                case _Done(result, follow_ups):
                    return await self._post.ask(
                        lambda calls: calls.complete(
                            life, token, result=result, follow_ups=follow_ups
                        )
                    )
                case _Failed(reason, retry, retry_in, result):
                    return await self._post.ask(
                        lambda calls: calls.fail(
                            life,
                            token,
                            error=_storable(reason),
                            retry=retry,
                            retry_in=retry_in,
                            result=result,
                        )
                    )
                case _:
                    assert_never(word)
        except RequestRefused as refused:
            if refused.refusal in NO_LONGER_OURS:
                self._lost = self._lost or refused.what
                return Verdict.STALE
            raise

    def _put_down(self) -> None:
        self._post.body = None
        self._stage = _Stage.OVER

    def _lease_lost(self) -> LeaseLost:
        return LeaseLost(self.id, self.attempt, self._lost)


def _check_json(word: _Done | _Failed) -> None:
    """Raise TypeError, ValueError or RecursionError for what PostgreSQL cannot take as JSON."""
    told = [word.result]
    if isinstance(word, _Done):
        told += [follow_up.context for follow_up in word.follow_ups]
    for value in told:
        if holds_nul(json.dumps(value, allow_nan=False)):
            raise ValueError("PostgreSQL keeps no NUL in a text")


def _reason(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(_reason, error.exceptions))
    return "".join(format_exception_only(error)).strip()


def _storable(reason: str) -> str:
    # PostgreSQL takes neither NUL nor half a character.
    return reason[:_LONGEST_REASON].replace("\0", "").encode(errors="replace").decode()
