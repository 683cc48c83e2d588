"""Whether the log tells every event, and tells again only what a last batch may have been.

The tail keeps its cursor after each page it has told, so a page is told again only where its cursor
was not kept: the last page of a reign, and in the midst of one a page whose cursor failed. The next
read begins where the failed one began, so its first number is not above the last that was told.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tests.faults.checking.record import Event, Rule, Violation

PAGE = 1000
"""How many lines the tail tells before it keeps its cursor."""

_Numbers = Sequence[int]


def unlogged(events: Sequence[Event], log: Sequence[_Numbers]) -> Iterator[Violation]:
    """Find events without a line."""
    logged = {number for reign in log for number in reign}
    for event in events:
        if event.sequence not in logged:
            yield Violation(Rule.LOG, f"event {event.sequence}, {event.name}, is in no line")


def told_again(log: Sequence[_Numbers]) -> Iterator[Violation]:
    """Find lines that were told again though they were not in a last batch."""
    last_reign = {number: nth for nth, reign in enumerate(log) for number in reign}
    for nth, reign in enumerate(log):
        again = {number for number in reign if last_reign[number] > nth}
        yield from _not_the_last(reign, again, f"reign {nth} of the log")
        yield from _within(reign, nth)


def _within(reign: _Numbers, nth: int) -> Iterator[Violation]:
    batches = list(_ascending(reign))
    last_batch = {number: nth for nth, batch in enumerate(batches) for number in batch}
    for number_of, (batch, following) in enumerate(pairwise(batches)):
        again = {number for number in batch if last_batch[number] > number_of}
        if not again:
            continue
        where = f"reign {nth} of the log, before {following[0]}"
        if late := again - set(following):
            yield Violation(Rule.LOG, f"{where}: {sorted(late)[:10]} come again, and not at once")
        yield from _not_the_last(batch, again, where)


def _not_the_last(numbers: _Numbers, again: set[int], where: str) -> Iterator[Violation]:
    """Yield what is wrong unless the numbers told again are the last ones, and one page at most."""
    last = list(dict.fromkeys(reversed(numbers)))[: len(again)]
    if early := again.difference(last):
        yield Violation(Rule.LOG, f"{where}: {sorted(early)[:10]} come again, others after not")
    elif len(again) > PAGE:
        yield Violation(Rule.LOG, f"{where}: {len(again)} lines come again")


def _ascending(numbers: _Numbers) -> Iterator[_Numbers]:
    """Cut where the numbers do not ascend: there a page begins."""
    start = 0
    for here in range(1, len(numbers)):
        if numbers[here] <= numbers[here - 1]:
            yield numbers[start:here]
            start = here
    if start < len(numbers):
        yield numbers[start:]
