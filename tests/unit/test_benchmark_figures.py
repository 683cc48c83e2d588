"""The arithmetic of the benchmarks, and that a round which did not do its work ends the run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from benchmarks.contest import Comparison, Fact, Figures, Mismatch, demand, run
from benchmarks.cost import Cost
from benchmarks.figures import Spread, by_figure, percentile, ratios, shown
from benchmarks.peers.telling import Entries, sent_now
from benchmarks.report import Conditions, as_json, as_markdown, as_text, rows

CONDITIONS = Conditions({"cores": 2}, {"fsync": "on"}, "0.10 0.10 0.10", "1.00 0.50 0.20", rounds=2)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    hundred = [float(value) for value in range(100, 0, -1)]

    assert percentile(hundred, 0.5) == 50
    assert percentile(hundred, 0.99) == 99
    assert percentile(hundred, 1) == 100
    assert percentile([7.0], 0.5) == 7


def test_nothing_has_no_percentile_and_no_spread() -> None:
    with pytest.raises(ValueError, match="no percentile"):
        percentile([], 0.5)
    with pytest.raises(ValueError, match="at least one round"):
        Spread.of([])


def test_a_ratio_is_taken_within_each_round() -> None:
    # Twice as busy in the second round, for both: the ratio does not move.
    assert ratios([50, 25], [100, 50]) == Spread(0.5, 0.5, 0.5)


def test_a_ratio_needs_the_same_rounds_on_both_sides() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratios([50], [100, 50])


def test_rounds_with_different_figures_do_not_mix() -> None:
    with pytest.raises(ValueError, match="same figures"):
        by_figure([{"p50": 1.0}, {"p99": 1.0}])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.01234, "0.0123"), (1.724, "1.72"), (29143.2, "29,143"), (101.7, "102")],
)
def test_a_figure_shows_the_digits_that_matter(value: float, text: str) -> None:
    assert shown(value) == text


@dataclass
class Sprinter:
    """A contender that gives these figures, and leaves this many rows."""

    name: str
    rates: Sequence[float]
    left: int = 20
    order: list[str] = field(default_factory=list)
    setting: str = "as it comes"
    includes: str = "Everything."
    ran: int = 0

    async def prepare(self) -> None:
        self.ran = 0

    async def round(self) -> Figures:
        self.order.append(self.name)
        self.ran += 1
        return {"per_s": self.rates[self.ran - 1]}

    async def check(self) -> list[Fact]:
        return [Fact("rows completed", 20, self.left)]


async def test_rounds_are_interleaved_and_begin_with_another_each_time() -> None:
    order: list[str] = []
    floor, mine = Sprinter("floor", [100, 50], order=order), Sprinter("mine", [50, 30], order=order)

    results = await run(Comparison("drain", "How fast?", "floor", [floor, mine]), rounds=2)

    assert order == ["floor", "mine", "mine", "floor"]
    assert results == {"floor": {"per_s": [100, 50]}, "mine": {"per_s": [50, 30]}}


async def test_a_round_that_left_too_few_rows_ends_the_run() -> None:
    lazy, other = Sprinter("lazy", [900], left=19), Sprinter("other", [100])

    with pytest.raises(Mismatch, match="lazy: rows completed: expected 20, found 19"):
        await run(Comparison("drain", "How fast?", "lazy", [lazy, other]), rounds=1)

    assert other.ran == 0


def test_a_round_of_which_nothing_was_read_back_does_not_count() -> None:
    with pytest.raises(Mismatch, match="nothing was read back"):
        demand([], of="silent")


async def test_the_table_shows_medians_spreads_and_ratios() -> None:
    floor, mine = Sprinter("floor", [100, 50]), Sprinter("mine", [50, 30])
    comparison = Comparison("drain", "How fast?", "floor", [floor, mine])
    results = await run(comparison, rounds=2)

    table = rows(comparison, results)

    assert table == [
        ("contender", "per_s", "to floor"),
        ("floor", "75.0 [50.0 to 100]", "1.00 [1.00 to 1.00]"),
        ("mine", "40.0 [30.0 to 50.0]", "0.55 [0.50 to 0.60]"),
    ]
    assert as_text(table).splitlines()[2].startswith("mine ")


async def test_the_files_say_what_was_measured_and_where() -> None:
    comparison = Comparison("drain", "How fast?", "floor", [Sprinter("floor", [100, 50])])
    results = await run(comparison, rounds=2)

    page = as_markdown(comparison, results, CONDITIONS)
    kept = as_json(comparison, results, CONDITIONS)

    for said in ("How fast?", "Everything. Set: as it comes.", "`fsync = on`", "0.10 0.10 0.10"):
        assert said in page
    assert kept["contenders"] == [
        {
            "name": "floor",
            "setting": "as it comes",
            "includes": "Everything.",
            "figures": {
                "per_s": {
                    "rounds": [100, 50],
                    "median": 75,
                    "low": 50,
                    "high": 100,
                    "to_floor": {"median": 1, "low": 1, "high": 1},
                }
            },
        }
    ]


def test_a_cost_is_what_was_used_meanwhile_for_each_handoff() -> None:
    before, after = Cost(cpu_s=1.0, wal_bytes=5000), Cost(cpu_s=1.5, wal_bytes=9000)

    assert after.each(before, 1000) == {"cpu_ms_each": 0.5, "wal_bytes_each": 4}


def test_a_program_tells_of_its_handlers_once_all_were_entered(
    capsys: pytest.CaptureFixture[str],
) -> None:
    entries = Entries(2)

    entries.note({})
    assert capsys.readouterr().out == ""
    entries.note(sent_now())

    told = json.loads(capsys.readouterr().out)
    assert told["first"] <= told["last"]
    assert len(told["ms"]) == 1
