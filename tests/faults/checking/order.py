"""Whether anybody was overtaken: order at an address is priority, then position.

A dispatch looks once, at some moment between the beginning of its transaction and its event, and
takes the first handoffs that are pending, due, visible and locked by nobody. So it passed over
whoever was certainly all of that for the whole time between the two, ranks before what it took, and
was not taken with it. See `waiting` for what is certain.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from enum import IntEnum
from itertools import count

from tests.faults.checking.lives import Lives
from tests.faults.checking.record import Event, History, Rule, Violation
from tests.faults.checking.waiting import Given, Rank, S, Times, Wait, rank_of

AGAIN_AND_AGAIN = 5
"""So many dispatches must overtake a handoff that somebody may have locked for a moment."""
FOR_LONG = 5 * S
"""And so much time must lie between the first and the last of them."""


class _Turn(IntEnum):
    """What comes first at one moment: the reading that accuses nobody."""

    DISPATCH = 0
    LEAVE = 1
    JOIN = 2


def overtakings(history: History, lives: Lives) -> Iterator[Violation]:
    """Find dispatches that passed over somebody who was certainly there."""
    times = Times(history, lives)
    waits: defaultdict[str, list[Wait]] = defaultdict(list)
    for wait in times.waits():
        waits[wait.row.to_agent].append(wait)
    given: defaultdict[str, list[Given]] = defaultdict(list)
    for one in times.given():
        given[one.row.to_agent].append(one)
    for address, taken in given.items():
        yield from _at_one_address(waits[address], taken)


def _at_one_address(waits: Iterable[Wait], given: Iterable[Given]) -> Iterator[Violation]:
    number = count()
    turns: list[tuple[int, _Turn, int, Wait | Given]] = []
    for wait in waits:
        turns.append((wait.since, _Turn.JOIN, next(number), wait))
        turns.append((wait.until, _Turn.LEAVE, next(number), wait))
    turns.extend((one.began, _Turn.DISPATCH, next(number), one) for one in given)
    line = _Line()
    for _, turn, _, who in sorted(turns):
        if isinstance(who, Given):
            yield from line.passed_over_by(who)
        elif turn is _Turn.JOIN:
            line.join(who)
        else:
            line.leave(who)


class _Line:
    """Who waits at one address, the next one first."""

    def __init__(self) -> None:
        self._ranks: list[Rank] = []
        self._waits: dict[Rank, Wait] = {}

    def join(self, wait: Wait) -> None:
        insort(self._ranks, wait.rank)
        self._waits[wait.rank] = wait

    def leave(self, wait: Wait) -> None:
        if self._waits.get(wait.rank) is wait:
            del self._waits[wait.rank]
            del self._ranks[bisect_left(self._ranks, wait.rank)]

    def passed_over_by(self, given: Given) -> Iterator[Violation]:
        for rank in self._ranks[: bisect_left(self._ranks, rank_of(given.row))]:
            wait = self._waits[rank]
            if not _was_there(wait, given.event):
                continue
            wait.pass_over(given.event)
            if _is_certain(wait, given.event):
                self.leave(wait)  # once told, it is told
                yield _told(wait, given)
                return


def _was_there(wait: Wait, dispatch: Event) -> bool:
    """Whether it waited until the dispatch was done; the numbers hold where a clock was set."""
    return (
        wait.until > dispatch.at
        and wait.begun.sequence < dispatch.sequence
        and (wait.ended is None or wait.ended.sequence > dispatch.sequence)
        and (wait.row.deadline_at is None or wait.row.deadline_at > dispatch.at)
    )


def _is_certain(wait: Wait, dispatch: Event) -> bool:
    return not wait.called_for or (
        wait.passed_over >= AGAIN_AND_AGAIN and dispatch.at - wait.first_passed_at >= FOR_LONG
    )


def _told(wait: Wait, given: Given) -> Violation:
    ahead, behind = wait.row, given.row
    return Violation(
        Rule.ORDER,
        f"{ahead.id} (priority {ahead.priority}, position {ahead.position}), pending since event"
        f" {wait.begun.sequence}, is overtaken at {ahead.to_agent} by {behind.id} (priority"
        f" {behind.priority}, position {behind.position}) in event {given.event.sequence}",
    )
