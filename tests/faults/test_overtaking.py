"""When the checker says that somebody was overtaken, and when it may have been right."""

import random
from dataclasses import replace

import pytest

from tests.faults.checker import History, Rule, violations
from tests.faults.checking.order import AGAIN_AND_AGAIN
from tests.faults.checking.waiting import S
from tests.faults.imagined.run import EVERYBODY, Run


@pytest.fixture
def run() -> Run:
    """A run with two agents, where nothing has been sent."""
    run = Run(random.Random(1))
    run.register("ada")
    run.register("bob")
    return run


@pytest.fixture
def busy(run: Run) -> Run:
    """A run where one agent alone is free."""
    run.send("eve", "bob")
    run.dispatch("bob")
    return run


def overtaken(run: Run, *, locks_are_told: bool = True) -> list[str]:
    """What the checker says, which must be of order alone."""
    run.books.tell_all()
    history: History = run.history()
    found = violations(history if locks_are_told else replace(history, locked=()))
    assert {violation.rule for violation in found} <= {Rule.ORDER}
    return [violation.where for violation in found]


def test_an_older_one_is_overtaken(busy: Run) -> None:
    older, newer = busy.send("eve", EVERYBODY), busy.send("fay", EVERYBODY)
    busy.books.wait(10)

    busy.dispatch(EVERYBODY, passing_over={older})

    [told] = overtaken(busy)
    assert told.startswith(str(older))
    assert str(newer) in told


def test_a_more_urgent_one_is_overtaken(busy: Run) -> None:
    busy.send("eve", EVERYBODY)
    urgent = busy.send("eve", EVERYBODY, priority=1)
    busy.books.wait(10)

    busy.dispatch(EVERYBODY, passing_over={urgent})

    assert len(overtaken(busy)) == 1


def test_one_that_is_dispatched_only_afterwards_was_overtaken(run: Run) -> None:
    older, _ = run.send("eve", EVERYBODY), run.send("eve", EVERYBODY)
    run.books.wait(10)

    run.dispatch(EVERYBODY, passing_over={older})
    run.books.wait(1)
    assert run.dispatch(EVERYBODY) == [older]

    assert len(overtaken(run)) == 1


def test_who_is_taken_along_is_not_overtaken(run: Run) -> None:
    run.send("eve", EVERYBODY)
    run.send("eve", EVERYBODY, priority=1)
    run.books.wait(10)

    assert len(run.dispatch(EVERYBODY)) == 2

    assert overtaken(run) == []


def test_another_address_has_an_order_of_its_own(busy: Run) -> None:
    busy.send("eve", "bob")
    busy.send("eve", EVERYBODY)
    busy.books.wait(10)

    busy.dispatch(EVERYBODY)

    assert overtaken(busy) == []


def test_who_was_acknowledged_after_the_dispatch_began_may_not_have_been_visible(
    busy: Run,
) -> None:
    with busy.slow_send("eve", EVERYBODY):
        busy.send("fay", EVERYBODY)
        busy.books.wait(10)
        busy.dispatch(EVERYBODY)

    assert overtaken(busy) == []


def test_who_was_never_acknowledged_may_not_have_been_visible(busy: Run) -> None:
    silent = busy.send("eve", EVERYBODY, answered=False)
    busy.send("fay", EVERYBODY)
    busy.books.wait(10)

    busy.dispatch(EVERYBODY, passing_over={silent})

    assert overtaken(busy) == []


def test_a_follow_up_is_visible_once_its_agent_was_given_something_else(run: Run) -> None:
    first = run.send("eve", "ada", steps=2)
    run.dispatch("ada")
    follow_up = run.settle(first, "succeeded", told=None)
    assert follow_up is not None
    run.send("eve", "ada")
    run.dispatch("ada")
    run.send("eve", EVERYBODY)

    run.dispatch(EVERYBODY, passing_over={follow_up})

    assert len(overtaken(run)) == 1


def test_who_is_delayed_is_in_nobody_s_way(busy: Run) -> None:
    busy.send("eve", EVERYBODY, delayed=True)
    busy.send("eve", EVERYBODY)
    busy.books.wait(10)

    busy.dispatch(EVERYBODY)

    assert overtaken(busy) == []


def test_whose_deadline_was_near_may_have_been_locked_by_a_sweep(busy: Run) -> None:
    overdue = busy.send("eve", EVERYBODY)
    busy.send("eve", EVERYBODY)
    busy.books.wait(10)
    handoff = busy.queue.handoffs[overdue]
    handoff.row = replace(handoff.row, deadline_at=busy.books.now)

    busy.dispatch(EVERYBODY, passing_over={overdue})

    assert overtaken(busy) == []


def test_who_is_being_cancelled_may_be_locked(busy: Run) -> None:
    doomed = busy.send("eve", EVERYBODY)
    busy.send("eve", EVERYBODY)
    busy.books.wait(10)

    with busy.slow_cancel(doomed):
        assert busy.dispatch(EVERYBODY) != [doomed]

    assert overtaken(busy) == []


def test_whose_cancel_was_cut_off_may_have_been_locked(busy: Run) -> None:
    called = busy.send("eve", EVERYBODY)
    busy.send("eve", EVERYBODY)
    busy.books.note("eve", "cancelling", handoff_id=called)
    busy.books.wait(10)

    busy.dispatch(EVERYBODY, passing_over={called})

    assert overtaken(busy) == []


def test_who_was_retried_may_have_had_a_deadline_before(run: Run) -> None:
    once = run.send("eve", EVERYBODY)
    run.send("eve", EVERYBODY)
    run.register("cyd")
    run.books.wait(10)
    run.dispatch(EVERYBODY, passing_over={once})
    together = run.send("eve", EVERYBODY)
    run.books.wait(10)
    assert run.dispatch(EVERYBODY) == [once, together]
    run.settle(once, "failed")
    run.reopen(once)

    assert overtaken(run) == []


def test_who_is_being_dispatched_by_another_leader_is_locked(run: Run) -> None:
    first = run.send("eve", EVERYBODY)
    run.books.wait(10)

    with run.slow_dispatch(EVERYBODY) as given:
        assert given == [first]
        run.send("eve", EVERYBODY)
        assert run.dispatch(EVERYBODY)

    assert overtaken(run) == []


def test_whose_priority_was_changed_has_no_known_place(busy: Run) -> None:
    changed = busy.send("eve", EVERYBODY)
    busy.send("eve", EVERYBODY)
    busy.books.wait(10)

    busy.dispatch(EVERYBODY, passing_over={changed})
    handoff = busy.queue.handoffs[changed]
    handoff.row = replace(handoff.row, priority=9)

    assert overtaken(busy) == []


@pytest.mark.parametrize("told", [True, False], ids=["declared", "not declared"])
def test_whom_a_stranger_has_locked_is_overtaken_unless_that_is_declared(
    busy: Run, told: bool
) -> None:
    locked = busy.send("eve", EVERYBODY)
    busy.send("eve", EVERYBODY)
    busy.books.wait(10)

    with busy.stranger_locks(locked):
        busy.dispatch(EVERYBODY)

    assert len(overtaken(busy, locks_are_told=told)) == (0 if told else 1)


@pytest.mark.parametrize(
    ("times", "pause_ms", "found"),
    [(1, 0, 0), (AGAIN_AND_AGAIN - 1, 3000, 0), (20, 1, 0), (AGAIN_AND_AGAIN, 3000, 1)],
    ids=["once", "too few", "too soon", "again and again"],
)
def test_who_was_taken_back_may_be_locked_for_a_moment_but_not_for_long(
    run: Run, times: int, pause_ms: float, found: int
) -> None:
    old = run.send("eve", EVERYBODY)
    run.dispatch(EVERYBODY)
    run.take_back(old)
    run.register("ada")  # so that the take-back is known to be visible
    run.books.wait(10)

    for _ in range(times):
        newer = run.send("eve", EVERYBODY)
        assert newer in run.dispatch(EVERYBODY, passing_over={old})
        run.settle(newer, "succeeded")
        run.books.wait(pause_ms)

    assert len(overtaken(run)) == found


def test_who_is_being_taken_back_is_not_visible_yet(run: Run) -> None:
    old = run.send("eve", EVERYBODY)
    assert run.dispatch(EVERYBODY) == [old]

    with run.slow_register("ada"):
        for _ in range(2 * AGAIN_AND_AGAIN):
            newer = run.send("eve", EVERYBODY)
            assert run.dispatch(EVERYBODY) == [newer]
            run.settle(newer, "succeeded")
            run.books.wait(3000)

    assert old in run.queue.pending[EVERYBODY]
    assert overtaken(run) == []


def test_a_lock_may_outlive_its_stranger_for_a_moment(busy: Run) -> None:
    locked = busy.send("eve", EVERYBODY)
    busy.send("eve", EVERYBODY)
    began = busy.books.now

    with busy.stranger_locks(locked, declared=False):
        busy.books.declare_locked_since(began)
        busy.books.wait(100)
        busy.dispatch(EVERYBODY)

    assert overtaken(busy) == []


def test_a_client_s_clock_that_is_behind_proves_nothing(busy: Run) -> None:
    with busy.slow_send("eve", EVERYBODY) as slow:
        busy.send("fay", EVERYBODY)
        busy.books.wait(10)
        busy.dispatch(EVERYBODY)
    busy.books.tell_all()
    history = busy.history()
    notes = [
        note.model_copy(update={"at": note.at - 3600 * S}) if note.handoff_id == slow else note
        for note in history.notes
    ]

    assert violations(replace(history, notes=notes)) == []


def test_the_server_s_clock_may_be_set_back_before_somebody_comes(busy: Run) -> None:
    busy.send("eve", EVERYBODY)
    busy.dispatch(EVERYBODY)
    busy.books.set_clock(-60)
    busy.send("eve", EVERYBODY, priority=1)

    assert overtaken(busy) == []


def test_the_server_s_clock_may_be_set_back_in_the_midst_of_a_dispatch(busy: Run) -> None:
    busy.send("eve", EVERYBODY)
    with busy.slow_dispatch(EVERYBODY):
        busy.books.set_clock(-60)
        busy.send("eve", EVERYBODY, priority=1)
        busy.books.wait(10)

    assert overtaken(busy) == []


def test_the_server_s_clock_may_be_set_back_after_somebody_has_gone(run: Run) -> None:
    run.send("eve", EVERYBODY)
    run.books.wait(100_000)
    run.dispatch(EVERYBODY)
    run.books.set_clock(-60)
    run.send("eve", EVERYBODY)
    run.books.wait(10)
    run.dispatch(EVERYBODY)
    run.books.set_clock(60)

    assert overtaken(run) == []
