"""The queue of an imagined run: handoffs and agents, and what follows from each transition."""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from coordinator.core.lifecycle import STATUS_AFTER
from tests.faults.checking.record import Row
from tests.faults.imagined.books import Books


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


class Queue:
    """All handoffs and agents as they are now."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self.workers: dict[str, Worker] = {}
        self.handoffs: dict[UUID, Handoff] = {}
        self.pending: defaultdict[str, set[UUID]] = defaultdict(set)

    def holder(self, handoff: Handoff) -> Worker:
        """Who has it."""
        assert handoff.row.assigned_agent is not None
        return self.workers[handoff.row.assigned_agent]

    def able(self, address: str) -> list[Worker]:
        """Who can be given something at this address."""
        return [
            worker
            for worker in self.workers.values()
            if worker.holds is None and not worker.locked and address in worker.addresses
        ]

    def offered(self, address: str) -> list[Handoff]:
        """What a dispatch finds at this address, the next one first."""
        there = [self.handoffs[handoff_id] for handoff_id in self.pending[address]]
        return sorted(
            (one for one in there if one.visible and one.due and not one.locked),
            key=lambda one: (-one.row.priority, one.row.position),
        )

    def add(
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
        """Queue a handoff."""
        handoff_id = self._books.new_id()
        before = None if parent is None else self.handoffs[parent].row
        row = Row(
            id=handoff_id,
            from_agent=sender,
            to_agent=to_agent,
            position=xid,
            priority=priority,
            idempotency_key=key,
            parent_id=parent,
            root_id=handoff_id if before is None else before.root_id,
            hop=0 if before is None else before.hop + 1,
            steps=steps,
        )
        handoff = self.handoffs[handoff_id] = Handoff(row, xid, due=not delayed)
        self.pending[to_agent].add(handoff_id)
        self.moved(handoff, "handoff.queued", xid, None, priority=priority, delayed=delayed)
        return handoff_id

    def give(self, handoff: Handoff, agent: Worker, xid: int, *, began: int) -> None:
        """Give it to an agent, in a transaction that began then."""
        row = handoff.row
        handoff.row = replace(
            row, attempt=row.attempt + 1, assigned_agent=agent.name, dispatched_at=began
        )
        agent.holds = row.id
        self.pending[row.to_agent].discard(row.id)
        self.moved(handoff, "handoff.dispatched", xid, agent.name, incarnation=agent.incarnation)

    def take_back(self, handoff: Handoff, reason: str, xid: int) -> None:
        """Take it from its agent."""
        if handoff.stop_asked:
            self.complete(handoff, "cancelled", xid, began=self._books.now, reason=reason)
        elif handoff.row.attempt >= handoff.most_attempts:
            self.complete(handoff, "failed", xid, began=self._books.now, reason=reason)
        else:
            handoff.due = True
            self.pend(handoff, "handoff.taken_back", xid, reason=reason)

    def pend(self, handoff: Handoff, name: str, xid: int, *, reason: str | None = None) -> None:
        """Let it wait again."""
        agent = self._freed(handoff)
        self.pending[handoff.row.to_agent].add(handoff.row.id)
        handoff.row = replace(handoff.row, assigned_agent=None, dispatched_at=None)
        self.moved(handoff, name, xid, agent, reason=reason, delayed=not handoff.due)

    def complete(
        self, handoff: Handoff, outcome: str, xid: int, *, began: int, reason: str | None = None
    ) -> None:
        """End it, in a transaction that began then."""
        agent = self._freed(handoff)
        self.pending[handoff.row.to_agent].discard(handoff.row.id)
        handoff.row = replace(handoff.row, finished_at=began)
        self.moved(handoff, f"handoff.{outcome}", xid, agent, reason=reason)

    def remove(self, handoff: Handoff, xid: int) -> None:
        """Delete it."""
        row, agent = handoff.row, self._freed(handoff)
        del self.handoffs[row.id]
        self.pending[row.to_agent].discard(row.id)
        self._books.event(
            xid, "handoff.deleted", handoff_id=row.id, attempt=row.attempt, agent=agent
        )

    def moved(
        self, handoff: Handoff, name: str, xid: int, agent: str | None, **fields: Any
    ) -> None:
        """Tell of a step in its life, and let the row show where that leads."""
        status, outcome = STATUS_AFTER[name]
        row = handoff.row = replace(handoff.row, status=status, outcome=outcome)
        self._books.event(xid, name, handoff_id=row.id, attempt=row.attempt, agent=agent, **fields)

    def _freed(self, handoff: Handoff) -> str | None:
        handoff.accepted = False
        if handoff.row.status != "in_progress":
            return None
        agent = self.holder(handoff)
        agent.holds = None
        return agent.name
