"""A handoff that this agent sent, and the wait for what comes of it."""

from datetime import timedelta
from uuid import UUID

import anyio

from coordinator.agents.post import Post, vain_looks
from coordinator.core.errors import Refusal, RequestRefused
from coordinator.core.model import CancelAnswer, HandoffResult, Receipt

_DEFAULT_WAIT = timedelta(minutes=10)


class SentHandoff:
    """The receipt of a hand-off. `warning` says when nobody answers to the address yet."""

    def __init__(
        self, post: Post, receipt: Receipt, *, to_agent: str, repeated: bool, wait: timedelta | None
    ) -> None:
        self.id: UUID = receipt.handoff_id
        self.to_agent = to_agent
        self.repeated = repeated
        """The idempotency key was known: this is the first handoff that had it."""
        self.warning = receipt.warning
        self._post = post
        self._wait = wait
        self._may_wait = wait is not None
        self._bell = post.bell_for(self.id)

    async def result(self, *, within: timedelta | None = None) -> HandoffResult:
        """Wait until it has ended, and return how.

        `within` defaults to the `wait` of the hand-off, else to ten minutes; then TimeoutError.
        Raises RequestRefused with code ZH010 where the wait could never end: this agent holds a
        handoff, and the one awaited holds an ancestor of it.
        """
        limit = within or self._wait or _DEFAULT_WAIT
        if not self._may_wait:
            await self._post.ask(lambda calls: calls.check_wait(self._post.life, self.to_agent))
            self._may_wait = True
        try:
            with anyio.fail_after(limit.total_seconds()):
                return await self._ended()
        except TimeoutError:
            raise TimeoutError(f"handoff {self.id} has not ended within {limit}") from None

    async def cancel(self, reason: str | None = None) -> CancelAnswer:
        """Cancel it: at once where nobody has taken it up, else by asking its agent."""
        return await self._post.ask(lambda calls: calls.cancel(self.id, reason=reason))

    async def _ended(self) -> HandoffResult:
        looks = vain_looks()
        while True:
            row = await self._post.ask(lambda calls: calls.handoff(self.id))
            if row is None:
                raise RequestRefused(
                    Refusal.UNKNOWN_HANDOFF, f"handoff {self.id} was deleted while it was awaited"
                )
            if row.outcome is not None:
                return HandoffResult(
                    outcome=row.outcome, result=row.result, last_error=row.last_error
                )
            looks.spend(0, now=anyio.current_time())
            await anyio.sleep(looks.rest(now=anyio.current_time()))
            # The push may be lost; the row is not.
            await self._bell.wait(at_most=self._post.poll)
