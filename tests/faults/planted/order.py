"""Violations of order, at an address and in the log."""

from collections.abc import Iterator
from itertools import combinations

from tests.faults.checking.log import PAGE
from tests.faults.checking.record import Row, Rule
from tests.faults.checking.waiting import CLOCKS_DIFFER, S
from tests.faults.planted.forgery import Forgery
from tests.faults.planted.plant import breaks


@breaks(Rule.ORDER)
def overtaken(forgery: Forgery) -> None:
    ahead, behind = next(_neighbours(forgery))
    forgery.change(ahead, position=behind.position)
    forgery.change(behind, position=ahead.position)


def _neighbours(forgery: Forgery) -> Iterator[tuple[Row, Row]]:
    """Two of one address, of which one was dispatched while the other one certainly waited."""
    asked = {note.handoff_id for note in forgery.notes if note.saw == "cancelling"}
    answered = {
        note.handoff_id: note.at + forgery.server_ahead + CLOCKS_DIFFER
        for note in forgery.notes
        if note.saw == "acknowledged"
    }
    given = {
        event.handoff_id: event
        for event in forgery.events
        if event.name == "handoff.dispatched"
        and not any(
            start - 2 * S < event.at - forgery.server_ahead < end + 2 * S
            for start, end in forgery.locked
        )
    }
    delayed = {event.handoff_id for event in forgery.events if event.delayed}
    certain = [
        row
        for row in forgery.rows.values()
        if row.id in given
        and row.id in answered
        and row.id not in asked | delayed
        and (row.attempt, row.priority) == (1, 0)
    ]
    for row, other in combinations(certain, 2):
        assert row.dispatched_at is not None
        assert other.dispatched_at is not None
        was_there = (
            answered[other.id] < row.dispatched_at and given[row.id].at < other.dispatched_at
        )
        if was_there and row.to_agent == other.to_agent:
            yield row, other


@breaks(Rule.LOG)
def a_line_is_missing(forgery: Forgery) -> None:
    number = forgery.events[len(forgery.events) // 2].sequence
    forgery.log = [[line for line in reign if line != number] for reign in forgery.log]


@breaks(Rule.LOG)
def a_line_comes_again_in_another_reign(forgery: Forgery) -> None:
    forgery.log.append([forgery.events[0].sequence])


@breaks(Rule.LOG)
def a_line_comes_again_in_the_same_reign(forgery: Forgery) -> None:
    numbers = [event.sequence for event in forgery.events]
    forgery.log = [[*numbers, numbers[0]]]


@breaks(Rule.LOG)
def a_batch_comes_again_too_late(forgery: Forgery) -> None:
    one, two, three, rest = _parts([event.sequence for event in forgery.events])
    forgery.log = [[*one, *three, *two, *rest, *three]]


@breaks(Rule.LOG)
def half_a_batch_comes_again(forgery: Forgery) -> None:
    one, two, three, rest = _parts([event.sequence for event in forgery.events])
    forgery.log = [[*one, *two, *three], [*two, *rest]]


def _parts(numbers: list[int]) -> tuple[list[int], list[int], list[int], list[int]]:
    return numbers[:20], numbers[20:30], numbers[30:40], numbers[40:]


@breaks(Rule.LOG)
def more_than_a_page_comes_again(forgery: Forgery) -> None:
    numbers = [event.sequence for event in forgery.events]
    forgery.log = [numbers, numbers[-PAGE - 1 :]]
