"""Whether each step of a chain was followed by the next one, and by one alone.

A follow-up is made in the transaction that completes the step before it, so both carry one
transaction id. What its agent handed off beside the work has the same parent and another one.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from uuid import UUID

from tests.faults.checking.lives import Lives
from tests.faults.checking.record import Row, Rule, Violation


def chains(rows: Sequence[Row], lives: Lives) -> Iterator[Violation]:
    """Find steps that are missing or doubled, and handoffs that are in the wrong place."""
    by_id = {row.id: row for row in rows}
    children: defaultdict[UUID, list[Row]] = defaultdict(list)
    for row in rows:
        if row.parent_id is not None:
            children[row.parent_id].append(row)
        yield from _misplaced(row, by_id)
    deleted_in = {_transaction(handoff_id, lives) for handoff_id in lives.ever_deleted}
    for row in rows:
        life = lives.of.get(row.id)
        if life is None or row.steps is None or row.steps <= 1:
            continue
        for event in life.completions:
            if event.name != "handoff.succeeded" or event.xid in deleted_in:
                continue
            next_steps = [
                str(child.id)
                for child in children[row.id]
                if child.steps == row.steps - 1 and _transaction(child.id, lives) == event.xid
            ]
            if len(next_steps) != 1:
                yield Violation(
                    Rule.CHAIN,
                    f"{row.id}: event {event.sequence} ends a step with {row.steps - 1} to go,"
                    f" and is followed by {next_steps or 'nothing'}",
                )


def _transaction(handoff_id: UUID, lives: Lives) -> int | None:
    life = lives.of.get(handoff_id)
    return None if life is None or life.queued is None else life.queued.xid


def _misplaced(row: Row, by_id: dict[UUID, Row]) -> Iterator[Violation]:
    if row.parent_id is None:
        expected: tuple[UUID | None, int] = row.id, 0
    elif row.parent_id in by_id:
        parent = by_id[row.parent_id]
        expected = parent.root_id, parent.hop + 1
    else:
        return  # its parent was deleted
    if (row.root_id, row.hop) != expected:
        yield Violation(
            Rule.CHAIN, f"{row.id}: root and hop are {row.root_id}, {row.hop}, not {expected}"
        )
