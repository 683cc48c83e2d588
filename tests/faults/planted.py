"""Every way to break a promise that the checker must find: each spoils a clean history once.

A plant leaves all else in order, so that the one rule it breaks is the only one that is told.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from uuid import uuid4

from tests.faults.checking.log import PAGE
from tests.faults.checking.record import History, Row, Rule
from tests.faults.checking.waiting import CLOCKS_DIFFER, S
from tests.faults.forging import STRANGER, Forgery

_Spoil = Callable[[Forgery], None]


@dataclass(frozen=True, slots=True)
class Plant:
    """One violation, and the rule that must name it."""

    rule: Rule
    spoil: _Spoil

    def in_(self, history: History) -> History:
        """A history with this violation."""
        forgery = Forgery(history)
        self.spoil(forgery)
        return forgery.history()

    def __str__(self) -> str:
        """As pytest shows it."""
        return self.spoil.__name__


PLANTS: list[Plant] = []


def _breaks(rule: Rule) -> Callable[[_Spoil], _Spoil]:
    def plant(spoil: _Spoil) -> _Spoil:
        PLANTS.append(Plant(rule, spoil))
        return spoil

    return plant


def _root(forgery: Forgery, *statuses: str, acknowledged: bool = True) -> Row:
    """A row of a handoff that somebody sent by itself."""
    return forgery.some_row(
        lambda row: (
            row.parent_id is None
            and row.status in statuses
            and forgery.saw("acknowledged", row.id) is acknowledged
        )
    )


# --- handing off ----------------------------------------------------------------------------------


@_breaks(Rule.LOST)
def lost_without_a_trace(forgery: Forgery) -> None:
    row = forgery.some_row(
        lambda row: row.attempt == 0 and forgery.saw("acknowledged", row.id)
        and not forgery.saw("cancelling", row.id)
    )  # fmt: skip
    forgery.drop(forgery.events_of(row.id))
    del forgery.rows[row.id]


@_breaks(Rule.LOST)
def lost_with_a_history(forgery: Forgery) -> None:
    del forgery.rows[_root(forgery, "completed").id]


@_breaks(Rule.REFUSED)
def refused_and_there_by_its_key(forgery: Forgery) -> None:
    note = forgery.some_note(lambda note: note.saw == "refused")
    forgery.add_handoff(from_agent=note.client, idempotency_key=note.key)


@_breaks(Rule.REFUSED)
def refused_and_there_by_its_id(forgery: Forgery) -> None:
    row = forgery.add_handoff()
    note = forgery.some_note(lambda note: note.saw == "refused")
    for saw in ("sending", "refused"):
        forgery.note_also(note, saw=saw, client="gus", key=None, handoff_id=row.id)


@_breaks(Rule.KEY)
def one_key_made_two_rows(forgery: Forgery) -> None:
    row = forgery.some_row(lambda row: row.idempotency_key is not None)
    forgery.add_handoff(from_agent=row.from_agent, idempotency_key=row.idempotency_key)


@_breaks(Rule.KEY)
def one_key_was_answered_with_two_handoffs(forgery: Forgery) -> None:
    note = forgery.some_note(
        lambda note: (
            note.saw == "acknowledged" and note.key is not None and note.handoff_id in forgery.rows
        )
    )
    forgery.note_also(note, handoff_id=forgery.add_handoff().id)


@_breaks(Rule.KEY)
def two_keys_were_answered_with_one_handoff(forgery: Forgery) -> None:
    note = forgery.some_note(
        lambda note: (
            note.saw == "acknowledged" and note.key is not None and note.handoff_id in forgery.rows
        )
    )
    forgery.note_also(note, key="another key")


# --- histories ------------------------------------------------------------------------------------


@_breaks(Rule.HISTORY)
def a_row_without_history(forgery: Forgery) -> None:
    forgery.add_row()


@_breaks(Rule.HISTORY)
def a_history_without_row(forgery: Forgery) -> None:
    del forgery.rows[_root(forgery, "completed", "pending", acknowledged=False).id]


@_breaks(Rule.HISTORY)
def a_history_without_beginning(forgery: Forgery) -> None:
    forgery.drop(forgery.events_of(_root(forgery, "completed").id)[:1])


@_breaks(Rule.HISTORY)
def queued_twice(forgery: Forgery) -> None:
    row = _root(forgery, "pending")
    queued = forgery.events_of(row.id)[0]
    forgery.put(queued, queued)


@_breaks(Rule.HISTORY)
def deleted_and_still_there(forgery: Forgery) -> None:
    row = _root(forgery, "completed")
    last = forgery.events_of(row.id)[-1]
    forgery.put(last, replace(last, name="handoff.deleted", agent=None))


@_breaks(Rule.ROW)
def a_row_that_is_not_where_its_history_ends(forgery: Forgery) -> None:
    forgery.change(_root(forgery, "completed"), status="pending", outcome=None)


@_breaks(Rule.ROW)
def a_row_that_ended_otherwise(forgery: Forgery) -> None:
    forgery.change(forgery.some_row(lambda row: row.outcome == "failed"), outcome="succeeded")


@_breaks(Rule.ROW)
def a_row_that_names_another_holder(forgery: Forgery) -> None:
    forgery.change(
        forgery.some_row(lambda row: row.status == "in_progress"), assigned_agent=STRANGER
    )


# --- the end --------------------------------------------------------------------------------------


@_breaks(Rule.ENDED)
def completed_twice(forgery: Forgery) -> None:
    end = next(forgery.successes())
    forgery.put(end, replace(end, xid=end.xid + 10**6))


@_breaks(Rule.ENDED)
def dispatched_after_its_end(forgery: Forgery) -> None:
    end = next(forgery.successes())
    again = replace(end, agent=STRANGER, attempt=(end.attempt or 0) + 1, xid=end.xid + 10**6)
    forgery.put(end, replace(again, name="handoff.dispatched"), again)
    forgery.change(forgery.row_of(end), attempt=again.attempt)


@_breaks(Rule.ENDED)
def taken_back_after_its_end(forgery: Forgery) -> None:
    end = next(forgery.successes())
    forgery.put(end, replace(end, name="handoff.taken_back"))


@_breaks(Rule.ENDED)
def reopened_before_its_end(forgery: Forgery) -> None:
    row = forgery.some_row(lambda row: row.status == "pending" and row.attempt == 0)
    last = forgery.events_of(row.id)[-1]
    forgery.put(last, replace(last, name="handoff.reopened"))
    forgery.change(row, retries=row.retries + 1)


# --- attempts -------------------------------------------------------------------------------------


@_breaks(Rule.ATTEMPTS)
def an_attempt_is_left_out(forgery: Forgery) -> None:
    row = forgery.row_of(next(forgery.successes()))
    forgery.renumber(row.id, row.attempt, to=row.attempt + 1)


@_breaks(Rule.ATTEMPTS)
def an_attempt_comes_again(forgery: Forgery) -> None:
    first, _ = next(
        (end, given)
        for end, given in forgery.lost_attempts()
        if end.attempt == 1 and forgery.row_of(end).attempt == 2
    )
    assert first.handoff_id is not None
    forgery.drop_notes(first.handoff_id, attempt=1)
    forgery.renumber(first.handoff_id, 2, to=1)


@_breaks(Rule.ATTEMPTS)
def a_row_that_counts_otherwise(forgery: Forgery) -> None:
    row = _root(forgery, "completed")
    forgery.change(row, attempt=row.attempt + 1)


@_breaks(Rule.OVERLAP)
def two_attempts_overlap(forgery: Forgery) -> None:
    end, given = next(forgery.lost_attempts())
    assert end.handoff_id is not None
    assert end.attempt is not None
    forgery.give_to_stranger(end.handoff_id, end.attempt)
    [end] = [one for one in forgery.events_of(end.handoff_id, end.attempt) if one.name == end.name]
    forgery.move(end, given)


@_breaks(Rule.HOLDER)
def an_agent_holds_two(forgery: Forgery) -> None:
    end = next(forgery.successes())
    later = forgery.events[forgery.events.index(end) :]
    given = next(
        event for event in later if event.name == "handoff.dispatched" and event.agent == end.agent
    )
    forgery.move(end, given)


@_breaks(Rule.STALE)
def a_stale_finish_is_applied(forgery: Forgery) -> None:
    old, given = next(
        (end, given)
        for end, given in forgery.lost_attempts()
        if forgery.is_no_step(forgery.row_of(end))
        and forgery.row_of(end).attempt == given.attempt
        and forgery.row_of(end).retries == 0
    )
    events = forgery.events_of(given.handoff_id)
    forgery.drop(events[events.index(given) + 1 :])
    forgery.drop_notes(given.handoff_id, given.attempt)
    forgery.put(given, replace(old, name="handoff.succeeded", xid=given.xid + 10**6))
    forgery.change(forgery.row_of(given), status="completed", outcome="succeeded")


@_breaks(Rule.STALE)
def an_accept_comes_too_late(forgery: Forgery) -> None:
    end, _ = next(forgery.lost_attempts())
    forgery.put(end, replace(end, name="handoff.accepted"))


# --- what clients were told -----------------------------------------------------------------------


@_breaks(Rule.VERDICT)
def applied_was_told_and_it_was_taken_back(forgery: Forgery) -> None:
    note = forgery.some_note(
        lambda note: note.verdict == "stale" and note.handoff_id in forgery.rows
    )
    forgery.rewrite(note, verdict="applied")


@_breaks(Rule.VERDICT)
def applied_was_told_of_another_outcome(forgery: Forgery) -> None:
    end = next(end for end in forgery.successes() if forgery.saw("finished", end.handoff_id))
    for note in [note for note in forgery.notes if note.handoff_id == end.handoff_id]:
        if note.saw == "finishing" and note.attempt == end.attempt:
            forgery.rewrite(note, outcome="failed")


@_breaks(Rule.VERDICT)
def stale_was_told_and_it_was_applied(forgery: Forgery) -> None:
    note = forgery.some_note(
        lambda note: (
            note.verdict == "applied" and note.client != "dot" and note.handoff_id in forgery.rows
        )
    )
    forgery.rewrite(note, verdict="stale")


@_breaks(Rule.VERDICT)
def applied_was_told_twice(forgery: Forgery) -> None:
    note = forgery.some_note(
        lambda note: note.verdict == "applied" and note.handoff_id in forgery.rows
    )
    forgery.note_also(note)


@_breaks(Rule.ACCEPTED)
def taken_up_by_another(forgery: Forgery) -> None:
    note = forgery.some_note(lambda note: note.saw == "accepted")
    forgery.rewrite(note, client=STRANGER)


@_breaks(Rule.ACCEPTED)
def taken_up_before_it_was_given(forgery: Forgery) -> None:
    note = forgery.some_note(lambda note: note.saw == "accepted")
    forgery.note_also(note, attempt=99)


@_breaks(Rule.CANCEL)
def a_cancel_was_answered_as_done_and_it_succeeded(forgery: Forgery) -> None:
    note = forgery.some_note(
        lambda note: (
            note.verdict == "completed"
            and note.handoff_id in forgery.rows
            and forgery.row_of(note).outcome == "succeeded"
        )
    )
    forgery.rewrite(note, verdict="cancelled")


@_breaks(Rule.CANCEL)
def a_cancel_was_answered_as_asked_and_nobody_was_asked(forgery: Forgery) -> None:
    note = forgery.some_note(
        lambda note: (
            note.verdict == "completed"
            and not any(
                event.name == "handoff.cancel_requested"
                for event in forgery.events_of(note.handoff_id)
            )
        )
    )
    forgery.rewrite(note, verdict="requested")


@_breaks(Rule.CANCEL)
def a_cancel_was_answered_as_too_late_and_it_waits(forgery: Forgery) -> None:
    note = forgery.some_note(lambda note: note.saw == "cancel_answered")
    row = forgery.some_row(lambda row: row.status == "pending" and row.retries == 0)
    forgery.note_also(note, handoff_id=row.id, verdict="completed")


@_breaks(Rule.CANCEL)
def to_be_cancelled_and_given_again(forgery: Forgery) -> None:
    end, _ = next(forgery.lost_attempts())
    before = [event for event in forgery.events_of(end.handoff_id) if event is not end]
    given = next(event for event in before if event.attempt == end.attempt and event.agent)
    forgery.put(given, replace(given, name="handoff.cancel_requested"))


# --- chains ---------------------------------------------------------------------------------------


def _a_follow_up(forgery: Forgery) -> Row:
    return forgery.some_row(lambda row: row.parent_id in forgery.rows and row.attempt == 0)


@_breaks(Rule.CHAIN)
def a_follow_up_is_missing(forgery: Forgery) -> None:
    row = _a_follow_up(forgery)
    forgery.drop(forgery.events_of(row.id))
    forgery.drop_notes(row.id)
    del forgery.rows[row.id]


@_breaks(Rule.CHAIN)
def a_follow_up_is_there_twice(forgery: Forgery) -> None:
    row = _a_follow_up(forgery)
    queued = forgery.events_of(row.id)[0]
    twin = replace(row, id=uuid4(), status="pending", outcome=None, position=10**9)
    forgery.rows[twin.id] = twin
    forgery.put(queued, replace(queued, handoff_id=twin.id))


@_breaks(Rule.CHAIN)
def a_follow_up_came_by_another_transaction(forgery: Forgery) -> None:
    row = _a_follow_up(forgery)
    queued = forgery.events_of(row.id)[0]
    forgery.put(queued, replace(queued, xid=queued.xid + 10**6))
    forgery.drop([queued])


@_breaks(Rule.CHAIN)
def a_follow_up_is_in_the_wrong_place(forgery: Forgery) -> None:
    row = forgery.some_row(lambda row: row.parent_id in forgery.rows)
    forgery.change(row, hop=row.hop + 1)


# --- order ----------------------------------------------------------------------------------------


@_breaks(Rule.ORDER)
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


# --- the log --------------------------------------------------------------------------------------


@_breaks(Rule.LOG)
def a_line_is_missing(forgery: Forgery) -> None:
    number = forgery.events[len(forgery.events) // 2].sequence
    forgery.log = [[line for line in reign if line != number] for reign in forgery.log]


@_breaks(Rule.LOG)
def a_line_comes_again_in_another_reign(forgery: Forgery) -> None:
    forgery.log.append([forgery.events[0].sequence])


@_breaks(Rule.LOG)
def a_line_comes_again_in_the_same_reign(forgery: Forgery) -> None:
    numbers = [event.sequence for event in forgery.events]
    forgery.log = [[*numbers, numbers[0]]]


@_breaks(Rule.LOG)
def a_batch_comes_again_too_late(forgery: Forgery) -> None:
    numbers = [event.sequence for event in forgery.events]
    forgery.log = [
        [*numbers[:20], *numbers[30:40], *numbers[20:30], *numbers[10:20], *numbers[40:]]
    ]


@_breaks(Rule.LOG)
def more_than_a_page_comes_again(forgery: Forgery) -> None:
    numbers = [event.sequence for event in forgery.events]
    forgery.log = [numbers, numbers[-PAGE - 1 :]]
