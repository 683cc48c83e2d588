"""When a handoff certainly waited to be dispatched, and when a dispatch certainly looked.

No event tells when a commit became visible, or who held a lock. What is certain nevertheless:

- A commit is visible once its client had the answer, and once an agent that it freed was dispatched
  to or has registered again: both wait for it.
- A transaction had no locks before it began, and where a row shows its now() (`dispatched_at`,
  `finished_at`) it is known when that was.
- Nobody calls for a handoff that was never given to anybody, but to cancel it. The late call of one
  who had it before locks it for a moment, and may leave no event. Sweeps lock what is overdue.
- Strangers' locks are declared in the history.

A handoff that was delayed is in nobody's way: when it was put up for dispatch leaves no event.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from coordinator.core.model import Verdict
from tests.faults.checking.lives import COMPLETES, TAKES_BACK, Lives
from tests.faults.checking.record import Event, History, Row

S = 1_000_000_000
CLOCKS_DIFFER = 5_000_000
"""Nanoseconds by which a client's moment may be wrong once it is the server's."""
_AROUND_A_LOCK = S
_NEVER = 2**63
_PENDING = TAKES_BACK | {"handoff.queued", "handoff.reopened"}
_FINDS_ITS_AGENT_FREE = frozenset({"handoff.dispatched", "agent.registered", "agent.replaced"})
"""These lock what the agent holds before they lock the agent, or find that it holds nothing."""

Rank = tuple[int, int]


def rank_of(row: Row) -> Rank:
    """Where it stands at its address; lower goes first, and no two are the same."""
    return -row.priority, row.position


class Given(NamedTuple):
    """One handoff that a dispatch gave to somebody."""

    event: Event
    row: Row
    began: int


@dataclass(slots=True)
class Wait:
    """One time for which a handoff was pending, due and visible, with nobody about to end that."""

    row: Row
    since: int
    until: int
    begun: Event
    ended: Event | None
    called_for: bool
    """Somebody may have had it locked for a moment."""
    passed_over: int = 0
    first_passed_at: int = 0
    _passed_by: int = 0

    @property
    def rank(self) -> Rank:
        """See `rank_of`."""
        return rank_of(self.row)

    def pass_over(self, dispatch: Event) -> None:
        """Count the dispatches, each with all that it gave as one."""
        if not self.passed_over:
            self.first_passed_at = dispatch.at
        self.passed_over += dispatch.xid != self._passed_by
        self._passed_by = dispatch.xid


class Times:
    """What the rows, the events and the notes say of time."""

    def __init__(self, history: History, lives: Lives) -> None:
        self._history = history
        self._rows = {row.id: row for row in history.rows if _keeps_its_rank(row, lives)}
        self._began = _beginnings(history.rows, lives)
        self._visible = _visible(history, lives)
        self._to_cancel = {note.handoff_id for note in history.notes if note.saw == "cancelling"}
        self._locked = _Intervals(history)

    def given(self) -> Iterator[Given]:
        """All dispatches of which it is known when they began, but those in a stranger's time."""
        for event in self._history.events:
            if event.name != "handoff.dispatched" or event.handoff_id is None:
                continue
            began, row = self._began.get(event.xid), self._rows.get(event.handoff_id)
            if began is not None and row is not None and not self._locked.meet(began, event.at):
                yield Given(event, row, began)

    def waits(self) -> Iterator[Wait]:
        """All times for which a handoff was certainly there to be dispatched."""
        pending: dict[UUID, tuple[Row, Event]] = {}
        reopened: defaultdict[UUID, int] = defaultdict(int)
        for event in self._history.events:
            row = self._rows.get(event.handoff_id) if event.handoff_id else None
            if row is None:
                continue
            if row.id in pending:
                yield from self._wait(*pending.pop(row.id), event)
            reopened[row.id] += event.name == "handoff.reopened"
            # Nobody knows the deadline of an earlier opening.
            if event.name in _PENDING and reopened[row.id] == row.retries:
                pending[row.id] = row, event
        for row, begun in pending.values():
            if row.status == "pending":
                yield from self._wait(row, begun, None)

    def _wait(self, row: Row, begun: Event, ended: Event | None) -> Iterator[Wait]:
        since = self._visible.get(begun.xid)
        until = _NEVER if ended is None else self._began.get(ended.xid)
        if since is None or until is None or since >= until or begun.delayed:
            return
        called_for = begun.name != "handoff.queued" or row.id in self._to_cancel
        yield Wait(row, since, until, begun, ended, called_for)


class _Intervals:
    """The times of strangers' locks by the server's clock, and a little around each."""

    def __init__(self, history: History) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in sorted(history.locked):
            start += history.server_ahead - _AROUND_A_LOCK
            end += history.server_ahead + _AROUND_A_LOCK
            if self._ends and start <= self._ends[-1]:
                self._ends[-1] = max(end, self._ends[-1])
            else:
                self._starts.append(start)
                self._ends.append(end)

    def meet(self, began: int, done: int) -> bool:
        last = bisect_right(self._starts, done) - 1
        return last >= 0 and began <= self._ends[last]


def _keeps_its_rank(row: Row, lives: Lives) -> bool:
    """Whether the row has the priority that it came with: a change of it leaves no event."""
    life = lives.of.get(row.id)
    return life is not None and life.queued is not None and life.queued.priority == row.priority


def _beginnings(rows: Iterable[Row], lives: Lives) -> Mapping[int, int]:
    """When transactions began, as far as rows show it."""
    began: dict[int, int] = {}
    for row in rows:
        life = lives.of.get(row.id)
        given = lives.given.get((row.id, row.attempt))
        ended = life.completions[-1] if life is not None and life.completions else None
        for event, at in ((given, row.dispatched_at), (ended, row.finished_at)):
            if event is not None and at is not None and at <= event.at:
                began[event.xid] = at
    return began


def _visible(history: History, lives: Lives) -> Mapping[int, int]:
    """Since when transactions are certainly visible."""
    visible: dict[int, int] = {}
    for event, at in (*_answered(history, lives), *_agents_found_free(history.events)):
        visible[event.xid] = min(at, visible.get(event.xid, at))
    return visible


def _answered(history: History, lives: Lives) -> Iterator[tuple[Event, int]]:
    for note in history.notes:
        if note.handoff_id is None:
            continue
        events: Iterable[Event | None] = ()
        if note.saw == "acknowledged" and note.handoff_id in lives.of:
            events = (lives.of[note.handoff_id].queued,)
        elif note.saw == "finished" and note.attempt and note.verdict != Verdict.STALE:
            events = lives.ended.get((note.handoff_id, note.attempt), ())
        at = note.at + history.server_ahead + CLOCKS_DIFFER
        for event in events:
            if event is not None and event.at <= at:  # or else the client's clock is wrong
                yield event, at


def _agents_found_free(events: Iterable[Event]) -> Iterator[tuple[Event, int]]:
    freed: dict[str, Event] = {}
    for event in events:
        if event.agent is None:
            continue
        if event.name in _FINDS_ITS_AGENT_FREE:
            end = freed.get(event.agent)
            if end is not None and end.xid != event.xid:
                del freed[event.agent]
                yield end, event.at
        elif event.name in COMPLETES or event.name in TAKES_BACK:
            freed[event.agent] = event
