"""What the driver keeps beside the model: who sent what, which life is whose, whose time is up."""

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from coordinator.core.lifecycle import AGENT_TRANSITIONS, AgentEvent, AgentState, State
from tests.model.deed import Order
from tests.model.model import Model

Life = UUID | None
"""An agent's incarnation; None for one that speaks plain SQL only."""


class Clock(StrEnum):
    """A time of a handoff that may pass: the column that says when."""

    DUE = "available_at"
    UNACCEPTED = "dispatched_at"
    ATTEMPT = "attempt_ends_at"
    GRACE = "cancel_requested_at"
    DEADLINE = "deadline_at"


_OF_ATTEMPT = (Clock.UNACCEPTED, Clock.ATTEMPT, Clock.GRACE)


@dataclass(slots=True)
class Sent:
    """A handoff as it was sent; only its place and its result are learnt later."""

    from_agent: str
    to_agent: str
    task: str
    context: dict[str, Any]
    root: UUID
    hop: int = 0
    parent: UUID | None = None
    priority: int = 0
    key: str | None = None
    position: int | None = None
    result: Any = None


@dataclass(frozen=True, slots=True)
class Claim:
    """Who says to hold which attempt."""

    handoff: UUID
    attempt: int
    agent: str
    life: Life


@dataclass(slots=True)
class Ledger:
    """The model, and everything around it that an answer depends on."""

    model: Model = field(default_factory=Model)
    lives: dict[str, Life] = field(default_factory=dict)
    former: dict[str, list[Life]] = field(default_factory=dict)
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    """Why an agent that is blocked by its own word is blocked."""
    lapsed: set[str] = field(default_factory=set)
    sent: dict[UUID, Sent] = field(default_factory=dict)
    keys: dict[tuple[str, str], UUID] = field(default_factory=dict)
    taken_up: set[UUID] = field(default_factory=set)
    """Attempts that were accepted by a word, not only by being a plain agent's."""
    passed: dict[Clock, dict[UUID, None]] = field(
        default_factory=lambda: {clock: {} for clock in Clock}
    )
    """Whose time is up, in the order in which it ran out."""
    settled: dict[tuple[UUID, int], tuple[Claim, str]] = field(default_factory=dict)
    """By which token, and by which word, an attempt was settled."""
    last_position: int = 0
    told: Counter[str] = field(default_factory=Counter)
    """Events that cannot be told from the rows: how many there must be."""

    # --- agents -------------------------------------------------------------------------------

    def refusal_of_life(self, name: str, life: Life) -> str | None:
        """What the call of a life that is over is refused with."""
        if name not in self.model.agents:
            return "ZH003"
        return None if self.lives[name] == life else "ZH002"

    def state_after(self, name: str, event: AgentEvent) -> AgentState:
        """The state that something would leave an agent in."""
        state = self.model.agents[name]
        return AGENT_TRANSITIONS.get((state, event), state)

    def becomes_idle(self, name: str, event: AgentEvent) -> bool:
        """Whether something would make an agent idle that is not."""
        idle = AgentState.IDLE
        return self.model.agents[name] is not idle and self.state_after(name, event) is idle

    def shows(self, name: str, state: AgentState) -> tuple[str, str | None]:
        """The status and the reason of an agent in a state."""
        match state:
            case AgentState.IDLE:
                return "idle", None
            case AgentState.HOLDING | AgentState.OCCUPIED:
                return "working", None
            case AgentState.STALE | AgentState.STALE_HOLDING:
                return "blocked", "stale"
            case AgentState.SAID | AgentState.SAID_HOLDING:
                return "blocked", self.reasons[name]
            case _:
                return "blocked", state.value

    def heard(self, name: str, event: AgentEvent) -> None:
        """Take in a heartbeat, or a word that is one too."""
        self.model.agent(name, event)
        self.model.silent.discard(name)
        self.lapsed.discard(name)

    def registered(self, name: str, life: Life, roles: tuple[str, ...]) -> None:
        """Take in that an agent registered, or registered again."""
        known = name in self.model.agents
        if known and self.lives[name] != life:
            if name in self.model.holds:
                self.taken_back(self.model.holds[name], None)
            self.former.setdefault(name, []).append(self.lives[name])
        event = AgentEvent.REGISTER if known and self.lives[name] == life else AgentEvent.REPLACE
        another = known and event is AgentEvent.REPLACE
        self.told["agent.replaced" if another else "agent.registered"] += 1
        self.model.agents.setdefault(name, AgentState.IDLE)
        self.lives[name], self.roles[name] = life, roles
        self.heard(name, event)

    def forgotten(self, name: str) -> None:
        """Take in that an agent's row was deleted."""
        self.told["agent.deleted"] += 1
        del self.model.agents[name], self.roles[name]
        self.former.setdefault(name, []).append(self.lives.pop(name))
        self.model.silent.discard(name)
        self.lapsed.discard(name)

    def answers_to(self, address: str) -> list[str]:
        """The agents that answer to an address."""
        return [name for name, roles in self.roles.items() if address == name or address in roles]

    # --- handoffs -----------------------------------------------------------------------------

    def holder(self, handoff: UUID) -> str | None:
        """Who holds it, if it is there."""
        known = self.model.handoffs.get(handoff)
        return known.holder if known else None

    def around(self, handoff: UUID) -> frozenset[Hashable]:
        """A handoff and its holder: what a deed on it touches."""
        holder = self.holder(handoff)
        return frozenset({handoff} if holder is None else {handoff, holder})

    def frees(self, handoff: UUID) -> frozenset[Hashable]:
        """What a deed writes that ends this handoff: the order of the idle, if it is held."""
        return frozenset() if self.holder(handoff) is None else frozenset({Order.IDLENESS})

    def accepted(self, handoff: UUID) -> None:
        """Take in an accept; the first one begins the attempt's time anew."""
        if handoff not in self.taken_up:
            self.taken_up.add(handoff)
            self.passed[Clock.ATTEMPT].pop(handoff, None)
        self.model.accepted(handoff)
        self.passed[Clock.UNACCEPTED].pop(handoff, None)

    def taken_back(self, handoff: UUID, freed: AgentEvent | None) -> None:
        """Take in that an attempt was taken back."""
        self.model.taken_back(handoff, freed)
        self.over(handoff)

    def settles(self, claim: Claim, word: str, result: Any) -> None:
        """Remember who settled an attempt, before it is taken in."""
        self.settled[claim.handoff, claim.attempt] = claim, word
        self.sent[claim.handoff].result = result

    def over(self, handoff: UUID) -> None:
        """Forget what belonged to the attempt that has ended."""
        self.taken_up.discard(handoff)
        for clock in _OF_ATTEMPT:
            self.passed[clock].pop(handoff, None)
        known = self.model.handoffs.get(handoff)
        if known is None or known.state is not State.PENDING:
            self.passed[Clock.DEADLINE].pop(handoff, None)
            self.passed[Clock.DUE].pop(handoff, None)

    def deleted(self, handoff: UUID) -> None:
        """Take in that a handoff's row was deleted."""
        self.model.deleted(handoff)
        sent = self.sent.pop(handoff)
        if sent.key is not None:
            del self.keys[sent.from_agent, sent.key]
        self.over(handoff)
        for attempt in [key for key in self.settled if key[0] == handoff]:
            del self.settled[attempt]

    def stands(self, claim: Claim) -> bool:
        """Whether this is the token of an attempt in progress."""
        known = self.model.handoffs.get(claim.handoff)
        return (
            known is not None
            and known.holder == claim.agent
            and known.attempt == claim.attempt
            and self.lives[claim.agent] == claim.life
        )

    def refusal_of_token(self, claim: Claim) -> str | None:
        """What accept and progress answer to a token; None where it stands."""
        if claim.handoff not in self.model.handoffs:
            return "ZH004"
        if self.stands(claim):
            return None
        return self.refusal_of_life(claim.agent, claim.life) or "ZH001"

    def verdict(self, claim: Claim, word: str) -> str:
        """What complete and fail answer to a token."""
        if claim.handoff not in self.model.handoffs:
            return "ZH004"
        if self.stands(claim):
            return "applied"
        given = self.settled.get((claim.handoff, claim.attempt))
        return "repeated" if given == (claim, word) else "stale"

    def queues(self) -> dict[str, list[UUID]]:
        """What is due at each address, and not past its deadline, in its order."""
        overdue = self.passed[Clock.DEADLINE]
        due = [
            (-self.sent[handoff].priority, self.sent[handoff].position, handoff)
            for handoff, known in self.model.handoffs.items()
            if known.state is State.PENDING and known.due and handoff not in overdue
        ]
        queues: dict[str, list[UUID]] = {}
        for _, _, handoff in sorted(due):
            queues.setdefault(self.sent[handoff].to_agent, []).append(handoff)
        return queues

    def ancestors(self, handoff: UUID | None) -> Iterable[UUID]:
        """A handoff and those that it came from, as far as they are still there."""
        while handoff in self.sent:
            yield handoff
            handoff = self.sent[handoff].parent

    def would_wait_for_ever(self, name: str, address: str) -> bool:
        """Whether an agent, holding a handoff, could wait in vain for this address."""
        line = list(self.ancestors(self.model.holds.get(name)))
        busy = [holder for one in line if (holder := self.holder(one))]
        able = self.answers_to(address)
        return any(holder in able for holder in busy) and set(able) <= set(busy)
