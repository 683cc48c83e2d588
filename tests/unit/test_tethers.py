"""Who has gone: a tether that was seen, and then was not for a whole grace."""

from datetime import timedelta
from uuid import UUID

from coordinator.core.tethers import Tethers

GRACE = timedelta(seconds=5)
ADA, BOB = UUID(int=1), UUID(int=2)


def test_who_is_missing_for_the_whole_grace_has_gone() -> None:
    tethers = Tethers()
    tethers.judge([1, 2], {1: [ADA], 2: [BOB]}, now=0, grace=GRACE)

    assert tethers.judge([2], {1: [ADA], 2: [BOB]}, now=1, grace=GRACE) == []
    assert tethers.judge([2], {1: [ADA], 2: [BOB]}, now=5.9, grace=GRACE) == []
    assert tethers.judge([2], {1: [ADA], 2: [BOB]}, now=6, grace=GRACE) == [ADA]


def test_who_comes_back_within_the_grace_is_at_its_beginning_again() -> None:
    tethers = Tethers()
    tethers.judge([1], {1: [ADA]}, now=0, grace=GRACE)
    tethers.judge([], {1: [ADA]}, now=1, grace=GRACE)
    tethers.judge([1], {1: [ADA]}, now=4, grace=GRACE)

    assert tethers.judge([], {1: [ADA]}, now=7, grace=GRACE) == []
    assert tethers.judge([], {1: [ADA]}, now=12, grace=GRACE) == [ADA]


def test_who_was_never_seen_is_not_judged() -> None:
    tethers = Tethers()

    for now in range(100):
        assert tethers.judge([], {1: [ADA]}, now=now, grace=GRACE) == []


def test_work_given_to_somebody_who_had_gone_before_is_found_as_well() -> None:
    tethers = Tethers()
    tethers.judge([1], {}, now=0, grace=GRACE)
    tethers.judge([], {}, now=1, grace=GRACE)

    assert tethers.judge([], {1: [ADA]}, now=30, grace=GRACE) == [ADA]


def test_one_that_is_gone_is_named_as_long_as_it_holds_work() -> None:
    """What was locked at the first time is taken back at the next."""
    tethers = Tethers()
    tethers.judge([1], {1: [ADA]}, now=0, grace=GRACE)
    tethers.judge([], {1: [ADA]}, now=1, grace=GRACE)

    assert tethers.judge([], {1: [ADA]}, now=7, grace=GRACE) == [ADA]
    assert tethers.judge([], {1: [ADA]}, now=8, grace=GRACE) == [ADA]
    assert tethers.judge([], {}, now=9, grace=GRACE) == []


def test_a_crowd_that_vanishes_at_once_is_left_to_its_heartbeats() -> None:
    tethers = Tethers()
    crowd = {number: [UUID(int=number)] for number in range(1, 31)}
    tethers.judge(crowd, crowd, now=0, grace=GRACE)
    tethers.judge(range(1, 15), crowd, now=1, grace=GRACE)

    assert tethers.judge(range(1, 15), crowd, now=60, grace=GRACE) == []


def test_a_crowd_that_vanishes_one_after_the_other_is_left_to_its_heartbeats_as_well() -> None:
    """As where time limits end the sessions behind a broken link, each at its own time."""
    tethers = Tethers()
    crowd = {number: [UUID(int=number)] for number in range(1, 101)}
    tethers.judge(crowd, crowd, now=0, grace=GRACE)

    for look in range(1, 100):
        there = range(1, max(101 - 5 * look, 1))
        assert tethers.judge(there, crowd, now=look / 2, grace=GRACE) == []


def test_who_is_left_to_its_heartbeats_is_judged_again_once_it_was_seen_again() -> None:
    tethers = Tethers()
    tethers.judge([1], {1: [ADA]}, now=0, grace=GRACE)
    tethers.judge([], {1: [ADA]}, now=1, grace=GRACE)
    tethers.forget([1])
    assert tethers.judge([], {1: [ADA]}, now=10, grace=GRACE) == []

    tethers.judge([1], {1: [ADA]}, now=11, grace=GRACE)
    tethers.judge([], {1: [ADA]}, now=12, grace=GRACE)
    assert tethers.judge([], {1: [ADA]}, now=17, grace=GRACE) == [ADA]


def test_less_than_half_of_a_crowd_is_judged() -> None:
    tethers = Tethers()
    crowd = {number: [UUID(int=number)] for number in range(1, 31)}
    tethers.judge(crowd, crowd, now=0, grace=GRACE)
    tethers.judge(range(1, 21), crowd, now=1, grace=GRACE)

    gone = tethers.judge(range(1, 21), crowd, now=60, grace=GRACE)

    assert sorted(gone) == [UUID(int=number) for number in range(21, 31)]
