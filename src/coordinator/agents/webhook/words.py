"""What is said of an attempt in the receiver's place, and what the database makes of it."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from coordinator.agents.calls import AgentCalls
from coordinator.agents.post import Post
from coordinator.core.errors import Refusal, RequestRefused
from coordinator.core.model import AgentState, Handoff, Token, Verdict, settled_by

_NO_LONGER_OURS = {Refusal.STALE_ATTEMPT, Refusal.UNKNOWN_AGENT, Refusal.UNKNOWN_HANDOFF}


class Words:
    """The calls of one agent about its work; each goes on until it is answered.

    All raise RequestRefused for what the rules forbid, but not where an attempt no longer stands.
    """

    def __init__(self, post: Post) -> None:
        self._post = post

    async def held(self) -> Handoff | None:
        """Read what the agent holds."""
        return await self._post.ask(lambda calls: calls.held(self._post.life))

    async def accept(self, token: Token) -> Handoff | None:
        """Take an attempt up; None where it no longer stands."""
        try:
            return await self._post.ask(lambda calls: calls.accept(self._post.life, token))
        except RequestRefused as refused:
            if refused.refusal not in _NO_LONGER_OURS:
                raise
            return None

    async def complete(self, token: Token, result: object) -> Verdict:
        """Complete an attempt; this also takes it up."""
        return await self._verdict(
            lambda calls: calls.complete(self._post.life, token, result=result, follow_ups=())
        )

    async def fail(
        self,
        token: Token,
        error: str,
        *,
        retry: bool,
        retry_in: timedelta | None = None,
        result: object = None,
    ) -> Verdict:
        """Fail an attempt; `retry_in` is the pause before the next, None the schema's."""
        return await self._verdict(
            lambda calls: calls.fail(
                self._post.life,
                token,
                error=error,
                retry=retry,
                retry_in=retry_in,
                result=result,
            )
        )

    async def was_settled(self, token: Token) -> bool:
        """Whether the attempt was ended by a word of its holder, which was not said here."""
        try:
            row = await self._post.ask(lambda calls: calls.handoff(token.handoff_id))
        except RequestRefused:
            return False  # a login that is one agent does not see what is not its own any more
        return settled_by(token, row) is not None

    async def say_idle(self) -> None:
        """Say that the agent does nothing."""
        await self._post.ask(
            lambda calls: calls.set_status(
                self._post.life, AgentState.IDLE, reason=None, current_task=None
            )
        )

    async def _verdict(self, word: Callable[[AgentCalls], Awaitable[Verdict]]) -> Verdict:
        try:
            return await self._post.ask(word)
        except RequestRefused as refused:
            if refused.refusal in _NO_LONGER_OURS:
                return Verdict.STALE
            raise
