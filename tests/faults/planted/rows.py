"""Violations in what exists and how it ended."""

from dataclasses import replace
from uuid import uuid4

from tests.faults.checking.record import Row, Rule
from tests.faults.planted.forgery import STRANGER, Forgery
from tests.faults.planted.plant import a_root, breaks


@breaks(Rule.LOST)
def lost_without_a_trace(forgery: Forgery) -> None:
    row = forgery.some_row(
        lambda row: row.attempt == 0 and forgery.saw("acknowledged", row.id)
        and not forgery.saw("cancelling", row.id)
    )  # fmt: skip
    forgery.drop(forgery.events_of(row.id))
    del forgery.rows[row.id]


@breaks(Rule.LOST)
def lost_with_a_history(forgery: Forgery) -> None:
    del forgery.rows[a_root(forgery, "completed").id]


@breaks(Rule.REFUSED)
def refused_and_there_by_its_key(forgery: Forgery) -> None:
    note = forgery.some_note(lambda note: note.saw == "refused")
    forgery.add_handoff(from_agent=note.client, idempotency_key=note.key)


@breaks(Rule.REFUSED)
def refused_and_there_by_its_id(forgery: Forgery) -> None:
    row = forgery.add_handoff()
    note = forgery.some_note(lambda note: note.saw == "refused")
    for saw in ("sending", "refused"):
        forgery.note_also(note, saw=saw, client="gus", key=None, handoff_id=row.id)


@breaks(Rule.KEY)
def one_key_made_two_rows(forgery: Forgery) -> None:
    row = forgery.some_row(lambda row: row.idempotency_key is not None)
    forgery.add_handoff(from_agent=row.from_agent, idempotency_key=row.idempotency_key)


@breaks(Rule.KEY)
def one_key_was_answered_with_two_handoffs(forgery: Forgery) -> None:
    note = forgery.some_note(
        lambda note: (
            note.saw == "acknowledged" and note.key is not None and note.handoff_id in forgery.rows
        )
    )
    forgery.note_also(note, handoff_id=forgery.add_handoff().id)


@breaks(Rule.KEY)
def two_keys_were_answered_with_one_handoff(forgery: Forgery) -> None:
    note = forgery.some_note(
        lambda note: (
            note.saw == "acknowledged" and note.key is not None and note.handoff_id in forgery.rows
        )
    )
    forgery.note_also(note, key="another key")


@breaks(Rule.HISTORY)
def a_row_without_history(forgery: Forgery) -> None:
    forgery.add_row()


@breaks(Rule.HISTORY)
def a_history_without_row(forgery: Forgery) -> None:
    del forgery.rows[a_root(forgery, "completed", "pending", acknowledged=False).id]


@breaks(Rule.HISTORY)
def a_history_without_beginning(forgery: Forgery) -> None:
    forgery.drop(forgery.events_of(a_root(forgery, "completed").id)[:1])


@breaks(Rule.HISTORY)
def queued_twice(forgery: Forgery) -> None:
    row = a_root(forgery, "pending")
    queued = forgery.events_of(row.id)[0]
    forgery.put(queued, queued)


@breaks(Rule.HISTORY)
def deleted_and_still_there(forgery: Forgery) -> None:
    row = a_root(forgery, "completed")
    last = forgery.events_of(row.id)[-1]
    forgery.put(last, replace(last, name="handoff.deleted", agent=None))


@breaks(Rule.ROW)
def a_row_that_is_not_where_its_history_ends(forgery: Forgery) -> None:
    forgery.change(a_root(forgery, "completed"), status="pending", outcome=None)


@breaks(Rule.ROW)
def a_row_that_ended_otherwise(forgery: Forgery) -> None:
    forgery.change(forgery.some_row(lambda row: row.outcome == "failed"), outcome="succeeded")


@breaks(Rule.ROW)
def a_row_that_names_another_holder(forgery: Forgery) -> None:
    forgery.change(
        forgery.some_row(lambda row: row.status == "in_progress"), assigned_agent=STRANGER
    )


@breaks(Rule.ENDED)
def completed_twice(forgery: Forgery) -> None:
    end = next(forgery.successes())
    forgery.put(end, replace(end, xid=end.xid + 10**6))


@breaks(Rule.ENDED)
def dispatched_after_its_end(forgery: Forgery) -> None:
    end = next(forgery.successes())
    again = replace(end, agent=STRANGER, attempt=(end.attempt or 0) + 1, xid=end.xid + 10**6)
    forgery.put(end, replace(again, name="handoff.dispatched"), again)
    forgery.change(forgery.row_of(end), attempt=again.attempt)


@breaks(Rule.ENDED)
def taken_back_after_its_end(forgery: Forgery) -> None:
    end = next(forgery.successes())
    forgery.put(end, replace(end, name="handoff.taken_back"))


@breaks(Rule.ENDED)
def reopened_before_its_end(forgery: Forgery) -> None:
    row = forgery.some_row(lambda row: row.status == "pending" and row.attempt == 0)
    last = forgery.events_of(row.id)[-1]
    forgery.put(last, replace(last, name="handoff.reopened"))
    forgery.change(row, retries=row.retries + 1)


def _a_follow_up(forgery: Forgery) -> Row:
    return forgery.some_row(lambda row: row.parent_id in forgery.rows and row.attempt == 0)


@breaks(Rule.CHAIN)
def a_follow_up_is_missing(forgery: Forgery) -> None:
    row = _a_follow_up(forgery)
    forgery.drop(forgery.events_of(row.id))
    forgery.drop_notes(row.id)
    del forgery.rows[row.id]


@breaks(Rule.CHAIN)
def a_follow_up_is_there_twice(forgery: Forgery) -> None:
    row = _a_follow_up(forgery)
    queued = forgery.events_of(row.id)[0]
    twin = replace(row, id=uuid4(), status="pending", outcome=None, position=10**9)
    forgery.rows[twin.id] = twin
    forgery.put(queued, replace(queued, handoff_id=twin.id))


@breaks(Rule.CHAIN)
def a_follow_up_came_by_another_transaction(forgery: Forgery) -> None:
    row = _a_follow_up(forgery)
    queued = forgery.events_of(row.id)[0]
    forgery.put(queued, replace(queued, xid=queued.xid + 10**6))
    forgery.drop([queued])


@breaks(Rule.CHAIN)
def a_follow_up_is_in_the_wrong_place(forgery: Forgery) -> None:
    row = forgery.some_row(lambda row: row.parent_id in forgery.rows)
    forgery.change(row, hop=row.hop + 1)
