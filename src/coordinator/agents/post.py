"""What the parts of one agent share: who it is, its line, and what the line has said about it.

Two voices speak here. A push says what has just happened; it may be lost, and any login of the
database can forge one, so it only makes the agent look. A heartbeat's answer says what the agent
holds; it comes every interval, and at once where a push says that the work should stop.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol, TypeVar, assert_never
from uuid import UUID
from weakref import WeakValueDictionary

from pydantic import ValidationError

from coordinator.agents.bell import Bell
from coordinator.agents.calls import AgentCalls
from coordinator.agents.link import Link
from coordinator.core.allowance import Allowance
from coordinator.core.errors import Refusal, RequestRefused
from coordinator.core.model import AgentState, BlockedReason, Heard, Json, Life, Push, Token

Answer = TypeVar("Answer")

LAST_WORD_WITHIN = timedelta(seconds=5)
"""How long an agent that is being cancelled goes on trying to say how it ended."""


def vain_looks() -> Allowance:
    """Return how often pushes may make an agent look in vain: twenty times, then ten a second."""
    return Allowance(share=0.05, least=0.005, most=0.005, saved=0.1)


class Body(Protocol):
    """Work in progress, as the line sees it."""

    @property
    def token(self) -> Token:
        """The attempt that it works on."""
        ...

    def lose(self, why: str) -> None:
        """Stop it: the attempt no longer stands."""
        ...

    def cancel(self) -> None:
        """Stop it: somebody asked for that."""
        ...


class Post:
    """One agent's place at a station."""

    def __init__(
        self,
        life: Life,
        link: Link,
        *,
        roles: tuple[str, ...],
        metadata: Json,
        poll: timedelta,
        ask_soon: Callable[[], None],
        away: bool = False,
    ) -> None:
        self.life = life
        self.roles = roles
        self.metadata = metadata
        self.away = away
        """Whether it takes no work when it registers, until it says that it is idle."""
        self.poll = poll
        """How often to look where a push may have been lost."""
        self.bell = Bell()
        self.bell.ring()  # whatever it holds from before
        self.body: Body | None = None
        self.over: RequestRefused | None = None
        """Why this life has ended; None while it lasts."""
        self.enrolled = False
        """Registered by now; before that a heartbeat would speak for an earlier life."""
        self.unresponsive = False
        """Blocked for not taking up its work, though no body runs."""
        self.in_doubt = False
        """A push says that the work under way should stop; the next heartbeat will tell."""
        self.overheard: Callable[[Push], None] | None = None
        """Told of each push besides; it must not raise."""
        self.heard: Callable[[Heard], None] | None = None
        """Told of each heartbeat's answer besides; it must not raise."""
        self._ask_soon = ask_soon
        self._link = link
        self._stop_heard: Push | None = None
        self._ends: WeakValueDictionary[UUID, Bell] = WeakValueDictionary()

    async def ask(self, call: Callable[[AgentCalls], Awaitable[Answer]]) -> Answer:
        """Ask until there is an answer; raise RequestRefused."""
        try:
            return await self._link.insist(call)
        except RequestRefused as refused:
            if refused.refusal is Refusal.SUPERSEDED:
                self.end(refused)
            raise

    def bell_for(self, handoff_id: UUID) -> Bell:
        """Return the bell that rings when this handoff, sent from here, has ended."""
        return self._ends.setdefault(handoff_id, Bell())

    def begin(self, body: Body) -> None:
        """Set to work. A push that it should stop may have overtaken the answer that began it."""
        self.body = body
        self._doubt_if_told()

    def end(self, why: RequestRefused) -> None:
        """End this life: no new work, and the work under way stops."""
        self.over = why
        if self.body is not None:
            self.body.lose(why.what)
        self.bell.ring()

    def look_again(self) -> None:
        """Look at everything: pushes may have been lost."""
        self.bell.ring()
        for bell in list(self._ends.values()):
            bell.ring()

    def hear_push(self, payload: str) -> None:
        """Take a notification; one that cannot be read means: look what there is to do."""
        try:
            push = Push.model_validate_json(payload)
        except ValidationError:
            self.bell.ring()
            return
        if self.overheard is not None:
            self.overheard(push)
        match push.event:
            case "dispatched":
                self.bell.ring()
            case "succeeded" | "failed" | "cancelled":
                if bell := self._ends.get(push.handoff_id):
                    bell.ring()
            case "taken_back" | "cancel_requested":
                self._stop_heard = push
                self._doubt_if_told()
            case _:
                assert_never(push.event)

    def hear_beat(self, heard: Heard, *, body_then: Body | None) -> None:
        """Take a heartbeat's answer; `body_then` was at work when the heartbeat was sent."""
        if self.heard is not None:
            self.heard(heard)
        self.unresponsive = self.body is None and (
            heard.status is AgentState.BLOCKED
            and heard.blocked_reason == BlockedReason.UNRESPONSIVE
        )
        if self.body is None:
            if heard.token is not None or self.unresponsive:
                self.bell.ring()
        elif self.body is body_then:
            if heard.token != self.body.token:
                self.body.lose("it was taken back")
            elif heard.cancel_requested:
                self.body.cancel()

    def _doubt_if_told(self) -> None:
        if self._stop_heard is not None and self._is_of_body(self._stop_heard):
            self.in_doubt = True
            self._ask_soon()

    def _is_of_body(self, push: Push) -> bool:
        if self.body is None or push.handoff_id != self.body.token.handoff_id:
            return False
        # A deleted handoff is pushed without its attempt.
        return push.attempt in (self.body.token.attempt, None)
