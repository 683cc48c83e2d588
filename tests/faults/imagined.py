"""A run that is only imagined: it keeps every promise, unless it is told to break one.

It makes the notes, events, rows and log lines that a real run would leave behind, deed by deed, and
counts its own time. What is true of the real thing and matters to the checker is true here as well:
an event comes before its commit, a dispatch sees what is visible when it looks and skips what is
locked, a follow-up is made with the completion, the log may begin its last page anew.
"""

import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from coordinator.core.lifecycle import STATUS_AFTER
from tests.faults.checking.log import PAGE
from tests.faults.checking.record import Event, History, Row
from tests.faults.history import Note, Saw

MS = 1_000_000
EVERYBODY = "worker"
_AHEAD = 1_700_000_000_000 * MS
"""How far the server's clock is ahead of CLOCK_MONOTONIC."""
_MEASURED_AT_MOST = _AHEAD + MS // 10


@dataclass(slots=True)
class Worker:
    """An agent; a plain one has no incarnation."""

    name: str
    addresses: frozenset[str]
    incarnation: UUID | None
    holds: UUID | None = None
    locked: bool = False


@dataclass(slots=True)
class Handoff:
    """A handoff, and what its row does not say."""

    row: Row
    queued_in: int
    due: bool
    visible: bool = True
    locked: bool = False
    accepted: bool = False
    stop_asked: bool = False
    most_attempts: int = 3


class Imagined:
    """Deeds that leave a clean history behind; `history()` is all of it."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now = _AHEAD + 1000 * MS
        self.workers: dict[str, Worker] = {}
        self.handoffs: dict[UUID, Handoff] = {}
        self.pending: defaultdict[str, set[UUID]] = defaultdict(set)
        self.notes: list[Note] = []
        self.events: list[Event] = []
        self.log: list[list[int]] = [[]]
        self.locked: list[tuple[int, int]] = []
        self._xid = 700
        self._sequence = 0
        self._position = 0
        self._untold: list[int] = []
        self._unseen: defaultdict[int, list[int]] = defaultdict(list)

    def history(self) -> History:
        """All that is left behind."""
        return History(
            notes=tuple(self.notes),
            events=tuple(self.events),
            rows=tuple(handoff.row for handoff in self.handoffs.values()),
            log=tuple(map(tuple, self.log)),
            server_ahead=_MEASURED_AT_MOST,
            locked=tuple(self.locked),
        )

    def wait(self, ms: float) -> None:
        """Let time pass."""
        self.now += int(ms * MS)

    def row(self, handoff_id: UUID) -> Row:
        """A handoff's row as it is now."""
        return self.handoffs[handoff_id].row

    # --- agents -------------------------------------------------------------------------------

    def register(self, name: str, *roles: str, plain: bool = False) -> None:
        """Register a new life; what the old one holds is taken back with it."""
        xid = self._begin()
        old = self.workers.get(name)
        if old is not None and old.holds is not None:
            self._take_back(old.holds, "replaced", xid)
        happened = "agent.registered" if old is None else "agent.replaced"
        life = None if plain else self.new_id()
        self.workers[name] = Worker(name, frozenset({name, EVERYBODY, *roles}), life)
        self._event(xid, happened, agent=name)

    def accept(self, handoff_id: UUID) -> None:
        """Let its agent take it up; the event of a plain agent's is missing, as it need not be."""
        handoff = self.handoffs[handoff_id]
        agent = self._holder(handoff)
        if agent.incarnation is not None and not handoff.accepted:
            self._moved(handoff, "handoff.accepted", self._begin(), agent.name)
            handoff.accepted = True
        self.note(agent.name, "accepted", handoff_id=handoff_id, attempt=handoff.row.attempt)

    def settle(
        self,
        handoff_id: UUID,
        outcome: str,
        *,
        told: str | None = "applied",
        retry_in_ms: float | None = None,
    ) -> UUID | None:
        """Let its agent settle it; return the follow-up. `told` None: the answer was lost."""
        handoff = self.handoffs[handoff_id]
        agent, attempt = self._holder(handoff), handoff.row.attempt
        self.note(agent.name, "finishing", handoff_id=handoff_id, attempt=attempt, outcome=outcome)
        began, xid = self.now, self._begin()
        follow_up = None
        if outcome == "succeeded":
            if handoff.row.steps is not None and handoff.row.steps > 1:
                follow_up = self._queue(
                    xid, agent.name, EVERYBODY, steps=handoff.row.steps - 1, parent=handoff_id
                )
            self._complete(handoff, "succeeded", xid, began)
        elif retry_in_ms is not None and not (
            handoff.stop_asked or attempt >= handoff.most_attempts
        ):
            handoff.due = retry_in_ms <= 0
            self._pend(handoff, "handoff.attempt_failed", "failed", xid)
        else:
            ended = "cancelled" if handoff.stop_asked else "failed"
            self._complete(handoff, ended, xid, began, reason="failed")
        if told is not None:
            self.note(agent.name, "finished", handoff_id=handoff_id, attempt=attempt, verdict=told)
        return follow_up

    def say_late(self, name: str, handoff_id: UUID, attempt: int) -> None:
        """Let an agent settle what it no longer has."""
        token = {"handoff_id": handoff_id, "attempt": attempt}
        self.note(name, "finishing", **token, outcome="succeeded")
        self._event(self._begin(), "handoff.settled_late", **token, agent=name)
        self.note(name, "finished", **token, verdict="stale")

    # --- senders ------------------------------------------------------------------------------

    def send(
        self,
        sender: str,
        to_agent: str,
        *,
        priority: int = 0,
        key: str | None = None,
        delayed: bool = False,
        steps: int | None = None,
        answered: bool = True,
    ) -> UUID:
        """Hand off."""
        self.note(sender, "sending", key=key, to_agent=to_agent, priority=priority)
        handoff_id = self._queue(
            self._begin(),
            sender,
            to_agent,
            priority=priority,
            key=key,
            delayed=delayed,
            steps=steps,
        )
        if answered:
            self.note(sender, "acknowledged", key=key, handoff_id=handoff_id)
        return handoff_id

    def send_slowly(self, sender: str, to_agent: str) -> UUID:
        """Hand off, with a commit that takes its time: see `commit`."""
        self.note(sender, "sending", to_agent=to_agent)
        xid = self._begin()
        handoff_id = self._queue(xid, sender, to_agent)
        self.handoffs[handoff_id].visible = False
        self._unseen[xid].append(self._untold.pop())
        return handoff_id

    def commit(self, handoff_id: UUID) -> None:
        """End a slow hand-off."""
        handoff = self.handoffs[handoff_id]
        handoff.visible = True
        self._untold += self._unseen.pop(handoff.queued_in)
        self.note(handoff.row.from_agent, "acknowledged", handoff_id=handoff_id)

    def be_refused(self, sender: str, key: str, sqlstate: str) -> None:
        """Hand off what is not taken."""
        self.note(sender, "sending", key=key, to_agent=EVERYBODY)
        self.note(sender, "refused", key=key, sqlstate=sqlstate)

    def cancel(self, handoff_id: UUID, *, answered: bool = True) -> None:
        """Ask for a cancel."""
        with self.slow_cancel(handoff_id, answered=answered):
            pass

    @contextmanager
    def slow_cancel(self, handoff_id: UUID, *, answered: bool = True) -> Iterator[None]:
        """Ask for a cancel; what happens inside happens while it has the row locked."""
        handoff = self.handoffs[handoff_id]
        self.note("canceller", "cancelling", handoff_id=handoff_id)
        began, xid = self.now, self._begin()
        handoff.locked = True
        yield
        handoff.locked = False
        answer = self._cancelled(handoff, xid, began)
        if answered:
            self.note("canceller", "cancel_answered", handoff_id=handoff_id, verdict=answer)

    def _cancelled(self, handoff: Handoff, xid: int, began: int) -> str:
        if handoff.row.status == "completed":
            return "completed"
        taken = handoff.accepted or handoff.row.assigned_agent in self._plain()
        if handoff.row.status == "in_progress" and taken:
            if not handoff.stop_asked:
                agent = self._holder(handoff).name
                self._moved(handoff, "handoff.cancel_requested", xid, agent)
                handoff.stop_asked = True
            return "requested"
        self._complete(handoff, "cancelled", xid, began, reason="cancelled")
        return "cancelled"

    # --- the daemon, and others ---------------------------------------------------------------

    def dispatch(self, address: str, *, passing_over: Collection[UUID] = ()) -> list[UUID]:
        """Give what waits at an address to its free agents; return what was given."""
        with self.slow_dispatch(address, passing_over=passing_over) as given:
            return given

    @contextmanager
    def slow_dispatch(
        self, address: str, *, passing_over: Collection[UUID] = ()
    ) -> Iterator[list[UUID]]:
        """Look, lock, and give; what happens inside happens before the last of these."""
        began, xid = self.now, self._begin()
        able = [
            worker
            for worker in self.workers.values()
            if worker.holds is None and not worker.locked and address in worker.addresses
        ]
        there = [self.handoffs[handoff_id] for handoff_id in self.pending[address]]
        offered = sorted(
            (one for one in there if one.visible and one.due and not one.locked),
            key=lambda one: (-one.row.priority, one.row.position),
        )
        taken = [one for one in offered if one.row.id not in passing_over]
        pairs = list(zip(taken, able, strict=False))
        self._lock(pairs, locked=True)
        yield [handoff.row.id for handoff, _ in pairs]
        self._lock(pairs, locked=False)
        for handoff, agent in sorted(pairs, key=lambda pair: pair[0].row.position):
            handoff.row = replace(
                handoff.row,
                attempt=handoff.row.attempt + 1,
                assigned_agent=agent.name,
                dispatched_at=began,
            )
            agent.holds = handoff.row.id
            self.pending[address].discard(handoff.row.id)
            self._moved(
                handoff, "handoff.dispatched", xid, agent.name, incarnation=agent.incarnation
            )

    def _lock(self, pairs: Iterable[tuple[Handoff, Worker]], *, locked: bool) -> None:
        for handoff, agent in pairs:
            handoff.locked = agent.locked = locked

    @contextmanager
    def stranger_locks(self, handoff_id: UUID, *, declared: bool = True) -> Iterator[None]:
        """Let somebody else have the row locked for the time of the block."""
        began, handoff = self.now, self.handoffs[handoff_id]
        handoff.locked = True
        yield
        handoff.locked = False
        if declared:
            self.locked.append((began - _AHEAD, self.now - _AHEAD))

    def take_back(self, handoff_id: UUID, reason: str = "lapsed") -> None:
        """Take an attempt back."""
        self._take_back(handoff_id, reason, self._begin())

    def ripen(self, handoff_id: UUID) -> None:
        """Put a delayed handoff up for dispatch; nothing tells of it."""
        self.handoffs[handoff_id].due = True

    def expire(self, handoff_id: UUID) -> None:
        """Let a deadline pass."""
        handoff = self.handoffs[handoff_id]
        handoff.row = replace(handoff.row, deadline_at=self.now)
        began = self.now
        self._complete(handoff, "failed", self._begin(), began, reason="deadline")

    def reopen(self, handoff_id: UUID) -> None:
        """Retry what has ended, as an operator may."""
        handoff = self.handoffs[handoff_id]
        handoff.row = replace(
            handoff.row, retries=handoff.row.retries + 1, deadline_at=None, finished_at=None
        )
        handoff.due, handoff.stop_asked = True, False
        handoff.most_attempts = handoff.row.attempt + 3
        self._pend(handoff, "handoff.reopened", None, self._begin())

    def delete(self, handoff_id: UUID) -> None:
        """Delete a handoff."""
        handoff = self.handoffs.pop(handoff_id)
        self.pending[handoff.row.to_agent].discard(handoff_id)
        agent = handoff.row.assigned_agent if handoff.row.status == "in_progress" else None
        if agent is not None:
            self.workers[agent].holds = None
        self._event(
            self._begin(),
            "handoff.deleted",
            handoff_id=handoff_id,
            attempt=handoff.row.attempt,
            agent=agent,
        )

    def tell(self, *, kept: bool = True, new_reign: bool = False) -> None:
        """Log a page of what is committed; it comes again where its cursor was not kept."""
        page = sorted(self._untold)[:PAGE]
        self.log[-1] += page
        if kept:
            self._untold = sorted(self._untold)[PAGE:]
        if new_reign:
            self.log.append([])

    def tell_all(self) -> None:
        """Log all that is committed."""
        while self._untold:
            self.tell()

    # --- parts --------------------------------------------------------------------------------

    def note(self, client: str, saw: Saw, **fields: Any) -> None:
        """Let a client write something down."""
        self.wait(self.chance.uniform(0.1, 2))
        told = {name: value for name, value in fields.items() if value is not None}
        self.notes.append(
            Note.model_construct(client=client, at=self.now - _AHEAD, saw=saw, **told)
        )

    def new_id(self) -> UUID:
        """Draw an id."""
        return UUID(int=self.chance.getrandbits(128), version=4)

    def _begin(self) -> int:
        self.wait(self.chance.uniform(0.1, 2))
        self._xid += 1
        return self._xid

    def _event(self, xid: int, name: str, **fields: Any) -> None:
        self._sequence += self.chance.choice((1, 1, 1, 2))  # some transactions were rolled back
        self.events.append(Event(self._sequence, xid, self.now, name, **fields))
        self._untold.append(self._sequence)

    def _moved(
        self, handoff: Handoff, name: str, xid: int, agent: str | None, **fields: Any
    ) -> None:
        status, outcome = STATUS_AFTER[name]
        handoff.row = replace(handoff.row, status=status, outcome=outcome)
        row = handoff.row
        self._event(xid, name, handoff_id=row.id, attempt=row.attempt, agent=agent, **fields)

    def _queue(
        self,
        xid: int,
        sender: str,
        to_agent: str,
        *,
        priority: int = 0,
        key: str | None = None,
        delayed: bool = False,
        steps: int | None = None,
        parent: UUID | None = None,
    ) -> UUID:
        self._position += 1
        handoff_id = self.new_id()
        before = None if parent is None else self.row(parent)
        row = Row(
            id=handoff_id,
            from_agent=sender,
            to_agent=to_agent,
            position=self._position,
            priority=priority,
            idempotency_key=key,
            parent_id=parent,
            root_id=handoff_id if before is None else before.root_id,
            hop=0 if before is None else before.hop + 1,
            steps=steps,
        )
        handoff = self.handoffs[handoff_id] = Handoff(row, xid, due=not delayed)
        self.pending[to_agent].add(handoff_id)
        self._moved(handoff, "handoff.queued", xid, None, priority=priority, delayed=delayed)
        return handoff_id

    def _take_back(self, handoff_id: UUID, reason: str, xid: int) -> None:
        handoff = self.handoffs[handoff_id]
        if handoff.stop_asked or handoff.row.attempt >= handoff.most_attempts:
            ended = "cancelled" if handoff.stop_asked else "failed"
            self._complete(handoff, ended, xid, self.now, reason=reason)
        else:
            handoff.due = True
            self._pend(handoff, "handoff.taken_back", reason, xid)

    def _pend(self, handoff: Handoff, name: str, reason: str | None, xid: int) -> None:
        agent = self._freed(handoff)
        self.pending[handoff.row.to_agent].add(handoff.row.id)
        handoff.row = replace(handoff.row, assigned_agent=None, dispatched_at=None)
        self._moved(handoff, name, xid, agent, reason=reason, delayed=not handoff.due)

    def _complete(
        self, handoff: Handoff, outcome: str, xid: int, began: int, reason: str | None = None
    ) -> None:
        agent = self._freed(handoff)
        self.pending[handoff.row.to_agent].discard(handoff.row.id)
        handoff.row = replace(handoff.row, finished_at=began)
        self._moved(handoff, f"handoff.{outcome}", xid, agent, reason=reason)

    def _freed(self, handoff: Handoff) -> str | None:
        handoff.accepted = False
        if handoff.row.status != "in_progress":
            return None
        agent = self._holder(handoff)
        agent.holds = None
        return agent.name

    def _holder(self, handoff: Handoff) -> Worker:
        assert handoff.row.assigned_agent is not None
        return self.workers[handoff.row.assigned_agent]

    def _plain(self) -> set[str]:
        return {worker.name for worker in self.workers.values() if worker.incarnation is None}
