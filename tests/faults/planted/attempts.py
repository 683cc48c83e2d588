"""Violations in what happens to attempts, and in what clients are told of them."""

from dataclasses import replace

from tests.faults.checking.record import Event, Rule
from tests.faults.planted.forgery import STRANGER, Forgery
from tests.faults.planted.plant import a_root, breaks


@breaks(Rule.ATTEMPTS)
def an_attempt_is_left_out(forgery: Forgery) -> None:
    row = forgery.row_of(next(forgery.successes()))
    forgery.renumber(row.id, row.attempt, to=row.attempt + 1)


@breaks(Rule.ATTEMPTS)
def an_attempt_comes_again(forgery: Forgery) -> None:
    first, _ = next(
        (end, given)
        for end, given in forgery.lost_attempts()
        if end.attempt == 1 and forgery.row_of(end).attempt == 2
    )
    assert first.handoff_id is not None
    forgery.drop_notes(first.handoff_id, attempt=1)
    forgery.renumber(first.handoff_id, 2, to=1)


@breaks(Rule.ATTEMPTS)
def a_row_that_counts_otherwise(forgery: Forgery) -> None:
    row = a_root(forgery, "completed")
    forgery.change(row, attempt=row.attempt + 1)


@breaks(Rule.OVERLAP)
def two_attempts_overlap(forgery: Forgery) -> None:
    end, given = next(forgery.lost_attempts())
    forgery.give_to_stranger(end)
    _end_after(forgery, end, given)


@breaks(Rule.OVERLAP)
def two_attempts_of_one_agent_overlap(forgery: Forgery) -> None:
    end, given = next(forgery.lost_attempts())
    forgery.give_to_stranger(end)
    given = forgery.give_to_stranger(given)
    _end_after(forgery, end, given)


def _end_after(forgery: Forgery, end: Event, given: Event) -> None:
    [end] = [one for one in forgery.events_of(end.handoff_id, end.attempt) if one.name == end.name]
    forgery.move(end, given)


@breaks(Rule.HOLDER)
def an_agent_holds_two(forgery: Forgery) -> None:
    end = next(forgery.successes())
    later = forgery.events[forgery.events.index(end) :]
    given = next(
        event for event in later if event.name == "handoff.dispatched" and event.agent == end.agent
    )
    forgery.move(end, given)


@breaks(Rule.STALE)
def a_stale_finish_is_applied(forgery: Forgery) -> None:
    old, given = next(
        (end, given)
        for end, given in forgery.lost_attempts()
        if forgery.is_no_step(forgery.row_of(end))
        and forgery.row_of(end).attempt == given.attempt
        and forgery.row_of(end).retries == 0
        and not forgery.saw("cancelling", end.handoff_id)
    )
    events = forgery.events_of(given.handoff_id)
    forgery.drop(events[events.index(given) + 1 :])
    forgery.drop_notes(given.handoff_id, given.attempt)
    forgery.put(given, replace(old, name="handoff.succeeded", xid=given.xid + 10**6))
    forgery.change(forgery.row_of(given), status="completed", outcome="succeeded")


@breaks(Rule.STALE)
def an_accept_comes_too_late(forgery: Forgery) -> None:
    end, _ = next(forgery.lost_attempts())
    forgery.put(end, replace(end, name="handoff.accepted"))


@breaks(Rule.VERDICT)
def applied_was_told_and_it_was_taken_back(forgery: Forgery) -> None:
    note = forgery.some_note(
        lambda note: note.verdict == "stale" and note.handoff_id in forgery.rows
    )
    forgery.rewrite(note, verdict="applied")


@breaks(Rule.VERDICT)
def applied_was_told_of_another_outcome(forgery: Forgery) -> None:
    end = next(end for end in forgery.successes() if forgery.saw("finished", end.handoff_id))
    for note in [note for note in forgery.notes if note.handoff_id == end.handoff_id]:
        if note.saw == "finishing" and note.attempt == end.attempt:
            forgery.rewrite(note, outcome="failed")


@breaks(Rule.VERDICT)
def stale_was_told_and_it_was_applied(forgery: Forgery) -> None:
    note = forgery.some_note(
        lambda note: (
            note.verdict == "applied" and note.client != "dot" and note.handoff_id in forgery.rows
        )
    )
    forgery.rewrite(note, verdict="stale")


@breaks(Rule.VERDICT)
def applied_was_told_twice(forgery: Forgery) -> None:
    note = forgery.some_note(
        lambda note: note.verdict == "applied" and note.handoff_id in forgery.rows
    )
    forgery.note_also(note)


@breaks(Rule.ACCEPTED)
def taken_up_by_another(forgery: Forgery) -> None:
    note = forgery.some_note(lambda note: note.saw == "accepted")
    forgery.rewrite(note, client=STRANGER)


@breaks(Rule.ACCEPTED)
def taken_up_before_it_was_given(forgery: Forgery) -> None:
    note = forgery.some_note(lambda note: note.saw == "accepted")
    forgery.note_also(note, attempt=99)


@breaks(Rule.CANCEL)
def a_cancel_was_answered_as_done_and_it_succeeded(forgery: Forgery) -> None:
    note = forgery.some_note(
        lambda note: (
            note.verdict == "completed"
            and note.handoff_id in forgery.rows
            and forgery.row_of(note).outcome == "succeeded"
        )
    )
    forgery.rewrite(note, verdict="cancelled")


@breaks(Rule.CANCEL)
def two_cancels_were_answered_as_done(forgery: Forgery) -> None:
    note = forgery.some_note(
        lambda note: note.verdict == "cancelled" and note.handoff_id in forgery.rows
    )
    forgery.note_also(note)


@breaks(Rule.CANCEL)
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


@breaks(Rule.CANCEL)
def a_cancel_was_answered_as_too_late_and_it_waits(forgery: Forgery) -> None:
    note = forgery.some_note(lambda note: note.saw == "cancel_answered")
    row = forgery.some_row(lambda row: row.status == "pending" and row.retries == 0)
    forgery.note_also(note, handoff_id=row.id, verdict="completed")


@breaks(Rule.CANCEL)
def to_be_cancelled_and_given_again(forgery: Forgery) -> None:
    end, _ = next(forgery.lost_attempts())
    before = [event for event in forgery.events_of(end.handoff_id) if event is not end]
    given = next(event for event in before if event.attempt == end.attempt and event.agent)
    forgery.put(given, replace(given, name="handoff.cancel_requested"))
