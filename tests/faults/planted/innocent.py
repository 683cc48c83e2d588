"""What looks like a violation and may have been right: none of it may be told."""

from collections.abc import Callable
from dataclasses import replace

from coordinator.core.errors import Refusal
from tests.faults.planted.forgery import Forgery
from tests.faults.planted.plant import a_root


def refused_after_a_try_that_had_no_answer(forgery: Forgery) -> None:
    note = forgery.some_note(lambda note: note.saw == "refused")
    forgery.note_also(note, saw="sending")
    forgery.add_handoff(from_agent=note.client, idempotency_key=note.key)


def refused_when_its_client_repeated_it(forgery: Forgery) -> None:
    note = forgery.some_note(lambda note: note.saw == "refused")
    forgery.rewrite(note, sqlstate=Refusal.SUPERSEDED)
    forgery.add_handoff(from_agent=note.client, idempotency_key=note.key)


def refused_because_its_key_is_another_handoff_s(forgery: Forgery) -> None:
    note = forgery.some_note(lambda note: note.saw == "refused")
    forgery.rewrite(note, sqlstate=Refusal.IDEMPOTENCY_CONFLICT)
    forgery.add_handoff(from_agent=note.client, idempotency_key=note.key)


def a_plain_agent_does_not_know_its_word_of_an_earlier_life(forgery: Forgery) -> None:
    note = forgery.some_note(
        lambda note: (
            note.verdict == "applied" and note.client == "dot" and note.handoff_id in forgery.rows
        )
    )
    forgery.rewrite(note, verdict="stale")


def the_answer_is_lost_and_then_the_handoff_is_deleted(forgery: Forgery) -> None:
    end = next(
        end
        for end in forgery.successes()
        if end.agent != "dot" and forgery.saw("finished", end.handoff_id)
    )
    for note in [note for note in forgery.notes if note.handoff_id == end.handoff_id]:
        if note.saw == "finished" and note.attempt == end.attempt:
            forgery.rewrite(note, verdict="stale")
    forgery.put(end, replace(end, name="handoff.deleted", agent=None))
    assert end.handoff_id is not None
    del forgery.rows[end.handoff_id]


def deleted_and_sent_again_under_its_id(forgery: Forgery) -> None:
    row = forgery.some_row(
        lambda row: (
            row.parent_id is None
            and row.status == "completed"
            and forgery.saw("cancel_answered", row.id)
        )
    )
    first, *_, last = forgery.events_of(row.id)
    forgery.put(
        last, replace(last, name="handoff.deleted", agent=None), replace(first, xid=last.xid)
    )
    forgery.change(
        row, status="pending", outcome=None, attempt=0, retries=0, dispatched_at=None,
        finished_at=None, position=10**9,
    )  # fmt: skip


def the_last_batch_comes_again_after_a_kill(forgery: Forgery) -> None:
    numbers = [event.sequence for event in forgery.events]
    forgery.log = [numbers[:100], numbers[90:200], numbers[150:]]


def a_batch_comes_again_with_a_late_commit_before_it(forgery: Forgery) -> None:
    numbers = [event.sequence for event in forgery.events]
    forgery.log = [[*numbers[:80], *numbers[85:100], *numbers[80:]]]


def a_row_is_sent_and_nobody_heard_of_it(forgery: Forgery) -> None:
    forgery.drop_notes(a_root(forgery, "pending").id)


INNOCENT: list[Callable[[Forgery], None]] = [
    refused_after_a_try_that_had_no_answer,
    refused_when_its_client_repeated_it,
    refused_because_its_key_is_another_handoff_s,
    a_plain_agent_does_not_know_its_word_of_an_earlier_life,
    the_answer_is_lost_and_then_the_handoff_is_deleted,
    deleted_and_sent_again_under_its_id,
    the_last_batch_comes_again_after_a_kill,
    a_batch_comes_again_with_a_late_commit_before_it,
    a_row_is_sent_and_nobody_heard_of_it,
]
