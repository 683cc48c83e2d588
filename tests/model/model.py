"""What must be true of every handoff and agent, whatever was done to them so far.

The model follows the tables of `coordinator.core.lifecycle`. It does not guess whom a dispatch
picks: it is told, checks that the choice was right, and goes on from there. Hypothesis drives it
step by step (`test_machine.py`), and a seeded driver through a million operations (`driver.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from coordinator.core.lifecycle import (
    AGENT_TRANSITIONS,
    TRANSITIONS,
    AgentEvent,
    AgentState,
    Event,
    State,
)


@dataclass(frozen=True, slots=True)
class Known:
    """What the model knows of a handoff."""

    state: State
    attempt: int
    max_attempts: int
    retries: int = 0
    holder: str | None = None
    due: bool = True


@dataclass(slots=True)
class Model:
    """Every handoff and every agent, as they must be."""

    handoffs: dict[UUID, Known] = field(default_factory=dict)
    agents: dict[str, AgentState] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    """Agents whose last heartbeat is older than `stale_after`."""
    holds: dict[str, UUID] = field(default_factory=dict)
    """What each agent holds."""

    def agent(self, name: str, event: AgentEvent) -> None:
        """Let something happen to an agent; what is not in the table changes nothing."""
        state = self.agents[name]
        self.agents[name] = AGENT_TRANSITIONS.get((state, event), state)

    def may(self, name: str, event: AgentEvent) -> bool:
        """Whether this can happen to the agent; else it is refused."""
        return (self.agents[name], event) in AGENT_TRANSITIONS

    def handed_off(self, handoff: UUID, max_attempts: int, *, due: bool = True) -> None:
        """Take in a new handoff."""
        self.handoffs[handoff] = Known(State.PENDING, 0, max_attempts, due=due)

    def given(self, handoff: UUID, name: str, *, plain: bool) -> None:
        """Let the coordinator give a handoff to an agent."""
        known = self.handoffs[handoff]
        event = Event.PLAIN_DISPATCH if plain else Event.DISPATCH
        self.handoffs[handoff] = replace(
            known, state=TRANSITIONS[known.state, event], attempt=known.attempt + 1, holder=name
        )
        self.agents[name] = AGENT_TRANSITIONS[self.agents[name], AgentEvent.DISPATCH]
        self.holds[name] = handoff

    def accepted(self, handoff: UUID) -> None:
        """Let its holder take it up."""
        known = self.handoffs[handoff]
        self.handoffs[handoff] = replace(known, state=TRANSITIONS[known.state, Event.ACCEPT])

    def ended(self, handoff: UUID, event: Event, freed: AgentEvent | None) -> None:
        """End its attempt, or what has none yet; `freed` happens to the holder, if there is one."""
        known = self.handoffs[handoff]
        after = TRANSITIONS[known.state, event]
        self.handoffs[handoff] = replace(known, state=after, holder=None, due=True)
        self._let_go(known.holder, freed)

    def failed(self, handoff: UUID, *, retry: bool, due: bool = False) -> None:
        """Let its holder fail it; `due` tells whether a further attempt may begin at once."""
        event = self.last(handoff, Event.FAIL, Event.LAST_FAIL) if retry else Event.LAST_FAIL
        self.ended(handoff, event, AgentEvent.FREED)
        if self.handoffs[handoff].state is State.PENDING:
            self.handoffs[handoff] = replace(self.handoffs[handoff], due=due)

    def asked_to_stop(self, handoff: UUID) -> None:
        """Let somebody ask its holder to stop."""
        known = self.handoffs[handoff]
        self.handoffs[handoff] = replace(known, state=TRANSITIONS[known.state, Event.CANCEL])

    def reopened(self, handoff: UUID, attempts: int) -> None:
        """Let an operator reopen it with so many further attempts."""
        known = self.handoffs[handoff]
        self.handoffs[handoff] = Known(
            TRANSITIONS[known.state, Event.RETRY],
            known.attempt,
            known.attempt + attempts,
            known.retries + 1,
        )

    def ripe(self, handoff: UUID) -> None:
        """Let the time come at which it is due."""
        self.handoffs[handoff] = replace(self.handoffs[handoff], due=True)

    def deleted(self, handoff: UUID) -> None:
        """Take it away."""
        self._let_go(self.handoffs.pop(handoff).holder, AgentEvent.FREED)

    def last(self, handoff: UUID, event: Event, last: Event) -> Event:
        """Choose between an event while attempts are left and the one on the last attempt."""
        known = self.handoffs[handoff]
        return last if known.attempt >= known.max_attempts else event

    def taken_back(self, handoff: UUID, freed: AgentEvent | None) -> None:
        """Take its attempt back, for whatever reason."""
        self.ended(handoff, self.last(handoff, Event.TAKE_BACK, Event.LAST_TAKE_BACK), freed)

    def _let_go(self, holder: str | None, freed: AgentEvent | None) -> None:
        if holder is None:
            return
        del self.holds[holder]
        if freed:
            self.agent(holder, freed)

    # --- what a dispatch may choose -----------------------------------------------------------

    def overtaken(
        self,
        queues: Mapping[str, Sequence[UUID]],
        picked: Mapping[UUID, str],
        able: Mapping[str, Sequence[str]],
        *,
        left_over: bool,
    ) -> str | None:
        """Say what was wrong about a choice, once it is taken in; None if nothing was.

        `queues` are the addresses' due handoffs in their order before, `able` who answers to each.
        """
        for address, queue in queues.items():
            given = [handoff in picked for handoff in queue]
            if given != sorted(given, reverse=True):
                return f"at {address} work was overtaken: {given}"
            takers = [picked[handoff] for handoff in queue if handoff in picked]
            strangers = [name for name in takers if name not in able[address]]
            if strangers:
                return f"{strangers} got work of {address}"
            idle = [name for name in able[address] if self._is_free(name)]
            if idle and not left_over and not all(given):
                return f"{idle} were left idle beside due work for {address}"
        return None

    def _is_free(self, name: str) -> bool:
        return self.agents[name] is AgentState.IDLE and name not in self.silent
