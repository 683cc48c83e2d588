"""Looks in vain are limited, however many are asked for; looks that find work are not."""

from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.allowance import Allowance


def an_allowance() -> Allowance:
    return Allowance(share=0.2, least=0.002, most=0.05, saved=0.1)


def test_at_first_nobody_rests() -> None:
    assert an_allowance().rest(now=1000.0) == 0


def test_the_saved_time_is_used_up_at_once() -> None:
    allowance = an_allowance()
    for _ in range(50):
        assert allowance.rest(now=7.0) == 0
        allowance.spend(0, now=7.0)
    allowance.spend(0, now=7.0)

    assert round(allowance.rest(now=7.0), 6) == 0.01


def test_then_a_look_of_its_share_is_possible() -> None:
    allowance, now, looks = an_allowance(), 0.0, 0
    while now < 10:
        allowance.spend(0.001, now=now)
        looks += 1
        now += 0.001 + allowance.rest(now=now)

    assert 50 + 1000 - 20 <= looks <= 50 + 1000 + 20


def test_time_gives_it_back_but_no_more_than_was_saved() -> None:
    allowance = an_allowance()
    for _ in range(60):
        allowance.spend(1, now=0.0)

    assert allowance.rest(now=0.25) == 0
    allowance.spend(0.05, now=1000.0)
    allowance.spend(0.05, now=1000.0)
    assert allowance.rest(now=1000.0) == 0


def test_a_look_that_finds_something_gives_some_back() -> None:
    allowance = an_allowance()
    for _ in range(100):
        allowance.spend(0.002, now=0.0)
        allowance.earn(now=0.0)

    assert allowance.rest(now=0.0) == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["spend", "earn", "wait"]), st.floats(0, 100, allow_subnormal=False)
        ),
        max_size=50,
    )
)
def test_no_history_makes_it_rest_longer_than_the_bound(history: list[tuple[str, float]]) -> None:
    allowance, now = an_allowance(), 0.0
    for act, value in history:
        match act:
            case "spend":
                allowance.spend(value, now=now)
            case "earn":
                allowance.earn(now=now)
            case _:
                now += value

    assert 0 <= allowance.rest(now=now) <= 0.25 + 1e-9


def test_a_clock_that_stands_still_or_steps_back_does_no_harm() -> None:
    allowance = an_allowance()
    allowance.spend(0.05, now=10.0)

    assert allowance.rest(now=9.0) == 0
