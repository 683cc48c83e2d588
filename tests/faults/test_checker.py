"""The checker finds every violation that is planted, and never one that is not."""

import time
from collections import Counter
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.checker import History, Rule, violations
from tests.faults.checking.lives import COMPLETES, TAKES_BACK
from tests.faults.imagined.day import imagine
from tests.faults.planted.every import PLANTS
from tests.faults.planted.forgery import Forgery
from tests.faults.planted.innocent import INNOCENT
from tests.faults.planted.plant import Plant

EVENTS_A_SECOND = 20_000
"""At least so many: a soak of two hours leaves half a million."""


@cache
def a_long_day() -> History:
    """A clean history with everything in it."""
    return imagine(seed=3, deeds=3000).history()


def test_a_clean_history_breaks_no_rule() -> None:
    assert violations(a_long_day()) == []


def test_the_clean_history_has_everything_in_it() -> None:
    history = a_long_day()
    happened = Counter(event.name for event in history.events)
    seen = Counter(note.saw for note in history.notes)
    told = Counter(note.verdict for note in history.notes)

    assert min(happened[name] for name in COMPLETES | TAKES_BACK) > 10
    assert min(happened[f"handoff.{name}"] for name in ("reopened", "deleted", "settled_late")) > 5
    assert happened["agent.replaced"] > 10
    assert min(seen[saw] for saw in ("refused", "accepted", "finishing", "cancelling")) > 10
    assert min(told[one] for one in ("applied", "repeated", "stale")) > 5
    assert min(told[one] for one in ("cancelled", "requested", "completed")) > 5
    assert sum(row.hop == 2 for row in history.rows) > 10
    assert len(history.log) > 20
    assert history.locked


@pytest.mark.parametrize("plant", PLANTS, ids=str)
def test_a_planted_violation_is_named_by_its_rule_alone(plant: Plant) -> None:
    found = violations(plant.in_(a_long_day()))

    assert {violation.rule for violation in found} == {plant.rule}


@pytest.mark.parametrize("change", INNOCENT, ids=lambda change: change.__name__)
def test_what_may_have_been_right_is_not_told(change: Callable[[Forgery], None]) -> None:
    forgery = Forgery(a_long_day())
    change(forgery)

    assert violations(forgery.history()) == []


def test_every_rule_has_a_plant() -> None:
    assert {plant.rule for plant in PLANTS} == set(Rule)


@given(seed=st.integers(0, 2**32), deeds=st.integers(1, 400))
@settings(max_examples=100, deadline=None)
def test_there_is_no_false_alarm(seed: int, deeds: int) -> None:
    assert violations(imagine(seed, deeds).history()) == []


def test_checking_is_quick() -> None:
    history = imagine(seed=1, deeds=12_000).history()

    began = time.process_time()
    found = violations(history)
    took = time.process_time() - began

    assert found == []
    assert len(history.events) / took > EVENTS_A_SECOND
