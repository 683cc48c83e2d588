"""The life of every handoff, read from the events, and what may not happen in one.

The number of an event is drawn while the transaction has the row of its handoff locked: whoever
changes a handoff next waits for the commit, and draws a higher one. So the events of one handoff
lie in the order of what happened. Those of one agent do as well, as far as its attempts go: a
dispatch locks the agent before it draws, and finds it idle only after the commit that freed it. So
"from dispatch to the commit that ends the attempt" needs no clock; it is an interval of numbers.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from tests.faults.checking.record import Attempt, Event, Row, Rule, Violation

COMPLETES = frozenset({"handoff.succeeded", "handoff.failed", "handoff.cancelled"})
TAKES_BACK = frozenset({"handoff.taken_back", "handoff.attempt_failed"})
_FROM_PENDING = frozenset({"handoff.failed", "handoff.cancelled"})
_WITHIN_AN_ATTEMPT = frozenset(
    {"handoff.accepted", "handoff.progressed", "handoff.cancel_requested"}
)


@dataclass(slots=True)
class Life:
    """One handoff, as far as its events are read."""

    queued: Event | None = None
    status: str = "pending"
    outcome: str | None = None
    attempt: int = 0
    reopened: int = 0
    stop_asked: bool = False
    was_asked_to_stop: bool = False
    deleted: bool = False
    standing: dict[int, str] = field(default_factory=dict)
    """The attempts that stand and who has them: one at most, if all is well."""
    completions: list[Event] = field(default_factory=list)


@dataclass(slots=True)
class Lives:
    """All handoffs, and who holds what, while the events are read one after the other."""

    of: dict[UUID, Life] = field(default_factory=dict)
    given: dict[Attempt, Event] = field(default_factory=dict)
    """How each attempt began."""
    ended: defaultdict[Attempt, list[Event]] = field(default_factory=lambda: defaultdict(list))
    """How each attempt ended; more than once only if a rule is broken."""
    ever_deleted: set[UUID] = field(default_factory=set)
    violations: list[Violation] = field(default_factory=list)
    _held: defaultdict[str, set[UUID]] = field(default_factory=lambda: defaultdict(set))

    @classmethod
    def read(cls, events: Iterable[Event]) -> "Lives":
        """Read all events, in the order of their numbers."""
        lives = cls()
        for event in events:
            if event.handoff_id is not None:
                lives._read(event, event.handoff_id)
            elif event.name == "handoff.deleted":
                lives._all_deleted()
        return lives

    def _read(self, event: Event, handoff_id: UUID) -> None:
        life = self.of.get(handoff_id)
        if event.name == "handoff.queued":
            if life is not None and not life.deleted:
                self._broken(Rule.HISTORY, event, "is queued a second time")
            self.of[handoff_id] = Life(queued=event)
            return
        if life is None:
            self._broken(Rule.HISTORY, event, "was never queued")
            life = self.of[handoff_id] = Life(attempt=(event.attempt or 1) - 1)
        read = _READERS.get(event.name)
        if read is not None:
            read(self, event, handoff_id, life)

    def _dispatched(self, event: Event, handoff_id: UUID, life: Life) -> None:
        attempt, agent = event.attempt or 0, event.agent or ""
        if life.deleted or life.status == "completed":
            self._broken(Rule.ENDED, event, "though it had ended")
        if life.standing:
            self._broken(Rule.OVERLAP, event, f"while others stand: {life.standing}")
        if others := self._held[agent] - {handoff_id}:
            self._broken(Rule.HOLDER, event, f"while {agent} holds {_named(others)}")
        if attempt != life.attempt + 1:
            self._broken(Rule.ATTEMPTS, event, f"after attempt {life.attempt}")
        life.attempt = attempt
        life.status, life.outcome = "in_progress", None
        life.standing[attempt] = agent
        self._held[agent].add(handoff_id)
        self.given[handoff_id, attempt] = event

    def _within_an_attempt(self, event: Event, _: UUID, life: Life) -> None:
        if not _stands(event, life):
            self._broken(Rule.STALE, event, f"while {life.standing or life.status} stands")
        if event.name == "handoff.cancel_requested":
            life.stop_asked = life.was_asked_to_stop = True

    def _taken_back(self, event: Event, handoff_id: UUID, life: Life) -> None:
        self._ends(event, handoff_id, life)
        if life.stop_asked:
            self._broken(Rule.CANCEL, event, "though it was to be cancelled")
        if life.status != "completed" and not life.standing:
            life.status = "pending"

    def _completed(self, event: Event, handoff_id: UUID, life: Life) -> None:
        self._ends(event, handoff_id, life)
        self._release(handoff_id, life)
        life.status, life.outcome = "completed", event.name.removeprefix("handoff.")
        life.stop_asked = False
        life.completions.append(event)

    def _ends(self, event: Event, handoff_id: UUID, life: Life) -> None:
        attempt = event.attempt or 0
        if _stands(event, life):
            agent = life.standing.pop(attempt)
            if agent not in life.standing.values():
                self._held[agent].discard(handoff_id)
            self.ended[handoff_id, attempt].append(event)
        elif life.status == "completed":
            self._broken(Rule.ENDED, event, f"though it had {life.outcome}")
        elif not (
            life.status == "pending" and event.name in _FROM_PENDING and attempt == life.attempt
        ):
            self._broken(Rule.STALE, event, f"while {life.standing or life.status} stands")

    def _reopened(self, event: Event, _: UUID, life: Life) -> None:
        if life.status != "completed":
            self._broken(Rule.ENDED, event, f"though it is {life.status}")
        life.status, life.outcome = "pending", None
        life.reopened += 1

    def _deleted(self, event: Event, handoff_id: UUID, life: Life) -> None:
        if life.deleted:
            self._broken(Rule.HISTORY, event, "a second time")
        self._gone(handoff_id, life)

    def _all_deleted(self) -> None:
        for handoff_id, life in self.of.items():
            self._gone(handoff_id, life)

    def _gone(self, handoff_id: UUID, life: Life) -> None:
        self._release(handoff_id, life)
        life.deleted = True
        self.ever_deleted.add(handoff_id)

    def _release(self, handoff_id: UUID, life: Life) -> None:
        for agent in life.standing.values():
            self._held[agent].discard(handoff_id)
        life.standing.clear()

    def _broken(self, rule: Rule, event: Event, why: str) -> None:
        what = f"event {event.sequence}, {event.name} of attempt {event.attempt} by {event.agent}"
        self.violations.append(Violation(rule, f"{event.handoff_id}: {what}, {why}"))


_READERS: Mapping[str, Callable[[Lives, Event, UUID, Life], None]] = {
    "handoff.dispatched": Lives._dispatched,
    "handoff.reopened": Lives._reopened,
    "handoff.deleted": Lives._deleted,
    **dict.fromkeys(_WITHIN_AN_ATTEMPT, Lives._within_an_attempt),
    **dict.fromkeys(TAKES_BACK, Lives._taken_back),
    **dict.fromkeys(COMPLETES, Lives._completed),
}
"""A late word (`handoff.settled_late`) may come at any time, and changes nothing."""


def _stands(event: Event, life: Life) -> bool:
    return life.standing.get(event.attempt or 0) == event.agent and event.agent is not None


def _named(handoffs: Iterable[UUID]) -> str:
    return ", ".join(sorted(map(str, handoffs)))


def rows_that_disagree(
    lives: Lives, rows: Sequence[Row], acknowledged: Iterable[UUID]
) -> Iterator[Violation]:
    """Find rows that show something else than their events, and either without the other."""
    there = set()
    for row in rows:
        there.add(row.id)
        life = lives.of.get(row.id)
        if life is None:
            yield Violation(Rule.HISTORY, f"{row.id}: no event tells of it")
        elif life.deleted:
            yield Violation(Rule.HISTORY, f"{row.id}: it exists though it was deleted")
        else:
            yield from _of_row(row, life)
    missing = lives.of.keys() - there - set(acknowledged)  # of those, another rule tells
    for handoff_id in sorted(missing):
        if not lives.of[handoff_id].deleted:
            yield Violation(Rule.HISTORY, f"{handoff_id}: its row is gone, and nobody deleted it")


def _of_row(row: Row, life: Life) -> Iterator[Violation]:
    if row.attempt != life.attempt:
        yield Violation(
            Rule.ATTEMPTS, f"{row.id}: attempt {row.attempt}, its events say {life.attempt}"
        )
    shown = (row.status, row.outcome, row.retries)
    told = (life.status, life.outcome, life.reopened)
    if shown != told:
        yield Violation(Rule.ROW, f"{row.id}: it is {shown}, its events say {told}")
    elif row.status == "in_progress" and row.assigned_agent not in life.standing.values():
        yield Violation(
            Rule.ROW, f"{row.id}: {row.assigned_agent} has it, its events say {life.standing}"
        )
