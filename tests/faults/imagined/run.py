"""A run that is only imagined: it keeps every promise, unless it is told to break one.

It makes the notes, events, rows and log lines that a real run would leave behind, deed by deed.
What is true of the real thing and matters to the checker is true here as well: an event comes
before its commit, a dispatch sees what is visible when it looks and skips what is locked, a
follow-up is made with the completion, the log may begin its last page anew.
"""

import random
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

from tests.faults.checking.record import History
from tests.faults.imagined.books import Books
from tests.faults.imagined.queue import Handoff, Queue, Worker

EVERYBODY = "worker"


class Run:
    """What clients, daemons and strangers do."""

    def __init__(self, chance: random.Random) -> None:
        self.books = Books(chance)
        self.queue = Queue(self.books)

    def history(self) -> History:
        """All that is left behind."""
        return self.books.history(handoff.row for handoff in self.queue.handoffs.values())

    # --- agents -------------------------------------------------------------------------------

    def register(self, name: str, *roles: str, plain: bool = False) -> None:
        """Register a new life; what the old one holds is taken back with it."""
        with self.slow_register(name, *roles, plain=plain):
            pass

    @contextmanager
    def slow_register(self, name: str, *roles: str, plain: bool = False) -> Iterator[None]:
        """Register; what happens inside happens before the commit."""
        xid, old = self.books.begin(), self.queue.workers.get(name)
        taken = None if old is None or old.holds is None else self.queue.handoffs[old.holds]
        if taken is not None:
            self.queue.take_back(taken, "replaced", xid)
            taken.visible = False
        life = None if plain else self.books.new_id()
        new = Worker(name, frozenset({name, EVERYBODY, *roles}), life, locked=True)
        self.queue.workers[name] = new
        self.books.event(xid, "agent.registered" if old is None else "agent.replaced", agent=name)
        yield
        new.locked = False
        if taken is not None:
            taken.visible = True

    def accept(self, handoff_id: UUID) -> None:
        """Let its agent take it up; a plain one need not tell the database."""
        handoff = self.queue.handoffs[handoff_id]
        agent = self.queue.holder(handoff)
        if agent.incarnation is not None and not handoff.accepted:
            self.queue.moved(handoff, "handoff.accepted", self.books.begin(), agent.name)
            handoff.accepted = True
        self.books.note(agent.name, "accepted", **_token(handoff))

    def settle(
        self,
        handoff_id: UUID,
        outcome: str,
        *,
        told: str | None = "applied",
        retry_in_ms: float | None = None,
    ) -> UUID | None:
        """Let its agent settle it; return the follow-up. `told` None: the answer was lost."""
        handoff = self.queue.handoffs[handoff_id]
        name, token = self.queue.holder(handoff).name, _token(handoff)
        self.books.note(name, "finishing", **token, outcome=outcome)
        if outcome == "succeeded":
            follow_up = self._succeeded(handoff, name)
        else:
            self._failed(handoff, retry_in_ms)
            follow_up = None
        if told is not None:
            self.books.note(name, "finished", **token, verdict=told)
        return follow_up

    def _succeeded(self, handoff: Handoff, name: str) -> UUID | None:
        began, xid, row = self.books.now, self.books.begin(), handoff.row
        follow_up = None
        if row.steps is not None and row.steps > 1:
            follow_up = self.queue.add(xid, name, EVERYBODY, steps=row.steps - 1, parent=row.id)
        self.queue.complete(handoff, "succeeded", xid, began=began)
        return follow_up

    def _failed(self, handoff: Handoff, retry_in_ms: float | None) -> None:
        began, xid = self.books.now, self.books.begin()
        if handoff.stop_asked:
            self.queue.complete(handoff, "cancelled", xid, began=began, reason="failed")
        elif retry_in_ms is None or handoff.row.attempt >= handoff.most_attempts:
            self.queue.complete(handoff, "failed", xid, began=began, reason="failed")
        else:
            handoff.due = retry_in_ms <= 0
            self.queue.pend(handoff, "handoff.attempt_failed", xid, reason="failed")

    def say_late(self, name: str, handoff_id: UUID, attempt: int) -> None:
        """Let an agent settle what it no longer has."""
        token = {"handoff_id": handoff_id, "attempt": attempt}
        self.books.note(name, "finishing", **token, outcome="succeeded")
        self.books.event(self.books.begin(), "handoff.settled_late", **token, agent=name)
        self.books.note(name, "finished", **token, verdict="stale")

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
        self.books.note(sender, "sending", key=key, to_agent=to_agent, priority=priority)
        handoff_id = self.queue.add(
            self.books.begin(),
            sender,
            to_agent,
            priority=priority,
            key=key,
            delayed=delayed,
            steps=steps,
        )
        if answered:
            self.books.note(sender, "acknowledged", key=key, handoff_id=handoff_id)
        return handoff_id

    @contextmanager
    def slow_send(self, sender: str, to_agent: str) -> Iterator[UUID]:
        """Hand off; what happens inside happens before the commit."""
        self.books.note(sender, "sending", to_agent=to_agent)
        xid = self.books.begin()
        handoff_id = self.queue.add(xid, sender, to_agent)
        handoff = self.queue.handoffs[handoff_id]
        handoff.visible = False
        self.books.hide(xid)
        yield handoff_id
        handoff.visible = True
        self.books.commit(xid)
        self.books.note(sender, "acknowledged", handoff_id=handoff_id)

    def be_refused(self, sender: str, key: str, sqlstate: str) -> None:
        """Hand off what is not taken."""
        self.books.note(sender, "sending", key=key, to_agent=EVERYBODY)
        self.books.note(sender, "refused", key=key, sqlstate=sqlstate)

    def cancel(self, handoff_id: UUID, *, answered: bool = True) -> None:
        """Ask for a cancel."""
        with self.slow_cancel(handoff_id, answered=answered):
            pass

    @contextmanager
    def slow_cancel(self, handoff_id: UUID, *, answered: bool = True) -> Iterator[None]:
        """Ask for a cancel; what happens inside happens while it has the row locked."""
        handoff = self.queue.handoffs[handoff_id]
        self.books.note("canceller", "cancelling", handoff_id=handoff_id)
        began, xid = self.books.now, self.books.begin()
        handoff.locked = True
        yield
        handoff.locked = False
        answer = self._cancelled(handoff, xid, began)
        if answered:
            self.books.note("canceller", "cancel_answered", handoff_id=handoff_id, verdict=answer)

    def _cancelled(self, handoff: Handoff, xid: int, began: int) -> str:
        if handoff.row.status == "completed":
            return "completed"
        if handoff.row.status == "in_progress":
            agent = self.queue.holder(handoff)
            if handoff.accepted or agent.incarnation is None:
                if not handoff.stop_asked:
                    self.queue.moved(handoff, "handoff.cancel_requested", xid, agent.name)
                    handoff.stop_asked = True
                return "requested"
        self.queue.complete(handoff, "cancelled", xid, began=began, reason="cancelled")
        return "cancelled"

    # --- the daemon ---------------------------------------------------------------------------

    def dispatch(self, address: str, *, passing_over: Collection[UUID] = ()) -> list[UUID]:
        """Give what waits at an address to its free agents; return what was given."""
        with self.slow_dispatch(address, passing_over=passing_over) as given:
            return given

    @contextmanager
    def slow_dispatch(
        self, address: str, *, passing_over: Collection[UUID] = ()
    ) -> Iterator[list[UUID]]:
        """Look, lock, and give; what happens inside happens before the last of these."""
        began, xid = self.books.now, self.books.begin()
        offered = [one for one in self.queue.offered(address) if one.row.id not in passing_over]
        pairs = list(zip(offered, self.queue.able(address), strict=False))
        _lock(pairs, locked=True)
        yield [handoff.row.id for handoff, _ in pairs]
        _lock(pairs, locked=False)
        for handoff, agent in sorted(pairs, key=lambda pair: pair[0].row.position):
            self.queue.give(handoff, agent, xid, began=began)

    def take_back(self, handoff_id: UUID, reason: str = "lapsed") -> None:
        """Take an attempt back."""
        self.queue.take_back(self.queue.handoffs[handoff_id], reason, self.books.begin())

    def ripen(self, address: str) -> None:
        """Put what was delayed there up for dispatch; nothing tells of it."""
        for handoff_id in self.queue.pending[address]:
            self.queue.handoffs[handoff_id].due = True

    def expire(self, handoff_id: UUID) -> None:
        """Let a deadline pass."""
        handoff, began = self.queue.handoffs[handoff_id], self.books.now
        handoff.row = replace(handoff.row, deadline_at=began)
        xid = self.books.begin()
        self.queue.complete(handoff, "failed", xid, began=began, reason="deadline")

    # --- others -------------------------------------------------------------------------------

    def reopen(self, handoff_id: UUID) -> None:
        """Retry what has ended, as an operator may."""
        handoff = self.queue.handoffs[handoff_id]
        handoff.row = replace(
            handoff.row, retries=handoff.row.retries + 1, deadline_at=None, finished_at=None
        )
        handoff.due, handoff.stop_asked = True, False
        handoff.most_attempts = handoff.row.attempt + 3
        self.queue.pend(handoff, "handoff.reopened", self.books.begin())

    def delete(self, handoff_id: UUID) -> None:
        """Delete a handoff."""
        self.queue.remove(self.queue.handoffs[handoff_id], self.books.begin())

    @contextmanager
    def stranger_locks(self, handoff_id: UUID, *, declared: bool = True) -> Iterator[None]:
        """Let somebody else have the row locked for the time of the block."""
        began, handoff = self.books.now, self.queue.handoffs[handoff_id]
        handoff.locked = True
        yield
        handoff.locked = False
        if declared:
            self.books.declare_locked_since(began)


def _lock(pairs: Iterable[tuple[Handoff, Worker]], *, locked: bool) -> None:
    for handoff, agent in pairs:
        handoff.locked = agent.locked = locked


def _token(handoff: Handoff) -> dict[str, Any]:
    return {"handoff_id": handoff.row.id, "attempt": handoff.row.attempt}
