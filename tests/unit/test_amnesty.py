"""When silence is no proof of death: after a start, after a gap, when a crowd falls silent."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.amnesty import Amnesty, Ruling

STALE_AFTER = timedelta(seconds=45)
HEARTBEAT = timedelta(seconds=10)
STEP = timedelta(seconds=2)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass(slots=True)
class Sweeps:
    """Looks, one after the other, by a clock that only the test moves."""

    amnesty: Amnesty
    now: datetime = NOON

    def look(self, *, after: timedelta = STEP, agents: int = 5, stale: int = 0) -> Ruling:
        """Look once, so long after the last look."""
        self.now += after
        return self.amnesty.judge(self.now, agents=agents, stale=stale)

    def until_it_ends(self, *, agents: int = 5, stale: int = 0) -> Ruling:
        """Look every two seconds until no amnesty is in force; return the look that says so."""
        return next(
            ruling for ruling in self._looks(agents=agents, stale=stale) if not ruling.in_force
        )

    def _looks(self, *, agents: int, stale: int) -> Iterator[Ruling]:
        for _ in range(1000):
            yield self.look(agents=agents, stale=stale)
        raise AssertionError("the amnesty does not end")


@pytest.fixture
def sweeps() -> Sweeps:
    """A new reign."""
    return Sweeps(Amnesty(STALE_AFTER, HEARTBEAT, "the daemon has just started"))


def test_a_reign_begins_with_an_amnesty_of_one_stale_after(sweeps: Sweeps) -> None:
    first = sweeps.look()

    assert first == Ruling(
        in_force=True, granted="the daemon has just started", until=sweeps.now + STALE_AFTER
    )


def test_the_amnesty_is_told_once_at_its_begin_and_once_at_its_end(sweeps: Sweeps) -> None:
    rulings = [sweeps.look() for _ in range(100)]

    assert [bool(ruling.granted) for ruling in rulings].count(True) == 1
    assert [ruling.ended for ruling in rulings].count(True) == 1


def test_verdicts_fall_after_one_stale_after(sweeps: Sweeps) -> None:
    began = sweeps.now
    end = sweeps.until_it_ends()

    assert end.ended
    assert STALE_AFTER <= sweeps.now - began - STEP <= STALE_AFTER + STEP


@pytest.mark.parametrize("gap", [HEARTBEAT + timedelta(microseconds=1), timedelta(hours=5)])
def test_a_gap_longer_than_a_heartbeat_begins_another(sweeps: Sweeps, gap: timedelta) -> None:
    sweeps.until_it_ends()

    ruling = sweeps.look(after=gap)

    assert ruling.in_force
    assert ruling.granted
    assert ruling.until == sweeps.now + STALE_AFTER


def test_a_pause_of_one_heartbeat_is_no_gap(sweeps: Sweeps) -> None:
    sweeps.until_it_ends()

    assert not sweeps.look(after=HEARTBEAT).in_force


def test_a_clock_that_was_set_back_is_a_gap(sweeps: Sweeps) -> None:
    sweeps.until_it_ends()

    assert sweeps.look(after=-STEP).in_force


def test_a_gap_during_an_amnesty_prolongs_it(sweeps: Sweeps) -> None:
    sweeps.look()
    sweeps.look(after=timedelta(seconds=30))
    prolonged_until = sweeps.now + STALE_AFTER

    sweeps.until_it_ends()

    assert sweeps.now >= prolonged_until


@pytest.mark.parametrize(("agents", "stale"), [(20, 11), (21, 11), (1000, 501), (20, 20)])
def test_more_than_half_of_a_crowd_silent_at_once_begins_one(
    sweeps: Sweeps, agents: int, stale: int
) -> None:
    sweeps.until_it_ends(agents=agents)

    assert sweeps.look(agents=agents, stale=stale).granted


@pytest.mark.parametrize(("agents", "stale"), [(19, 19), (20, 10), (1000, 500), (1, 1), (0, 0)])
def test_a_few_silent_agents_are_judged_at_once(sweeps: Sweeps, agents: int, stale: int) -> None:
    sweeps.until_it_ends(agents=agents)

    assert not sweeps.look(agents=agents, stale=stale).in_force


def test_a_crowd_that_stays_silent_is_judged_after_one_amnesty(sweeps: Sweeps) -> None:
    sweeps.until_it_ends(agents=30)
    assert sweeps.look(agents=30, stale=30).granted

    end = sweeps.until_it_ends(agents=30, stale=30)

    assert end.ended
    assert not sweeps.look(agents=30, stale=30).in_force


def test_a_crowd_that_came_back_and_falls_silent_again_gets_another(sweeps: Sweeps) -> None:
    sweeps.until_it_ends(agents=30)
    sweeps.look(agents=30, stale=30)
    sweeps.until_it_ends(agents=30, stale=0)

    assert sweeps.look(agents=30, stale=30).granted


@given(
    st.lists(
        st.tuples(
            st.floats(min_value=0, max_value=60).map(lambda s: timedelta(seconds=s)),
            st.integers(0, 60),
            st.integers(0, 60),
        ),
        max_size=60,
    )
)
def test_no_verdict_falls_within_one_stale_after_of_a_start_or_a_gap(
    looks: list[tuple[timedelta, int, int]],
) -> None:
    sweeps = Sweeps(Amnesty(STALE_AFTER, HEARTBEAT, "the daemon has just started"))
    sweeps.look()
    innocent_until = sweeps.now + STALE_AFTER
    for after, agents, stale in looks:
        ruling = sweeps.look(after=after, agents=agents, stale=min(agents, stale))
        if after > HEARTBEAT:
            innocent_until = sweeps.now + STALE_AFTER
        assert ruling.in_force or sweeps.now >= innocent_until


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=80),
    st.integers(0, 60),
)
def test_regular_looks_grant_at_most_one_amnesty_a_crowd(silences: list[int], agents: int) -> None:
    """Between two amnesties for a crowd, most of it must have been heard."""
    sweeps = Sweeps(Amnesty(STALE_AFTER, HEARTBEAT, "the daemon has just started"))
    sweeps.until_it_ends(agents=agents)
    heard_since = True
    for stale in silences:
        silent = min(agents, stale)
        granted = sweeps.look(agents=agents, stale=silent).granted
        assert not granted or heard_since
        heard_since = (heard_since and not granted) or 2 * silent <= agents
