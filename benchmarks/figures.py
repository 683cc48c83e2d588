"""Medians, spreads, percentiles and ratios: pure arithmetic on what was measured."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """What several rounds gave: their median, and how far they lie apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Sum up at least one value; raise ValueError for none."""
        if not values:
            raise ValueError("there is no spread of no values: run at least one round")
        return cls(statistics.median(values), min(values), max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share, in (0, 1], of the values do not exceed.

    Raise ValueError without values.
    """
    if not values:
        raise ValueError("there is no percentile of no values")
    rank = math.ceil(share * len(values) - 1e-9)
    return sorted(values)[max(rank, 1) - 1]


def ratios(rounds: Sequence[float], floor: Sequence[float]) -> Spread:
    """Compare round by round, since both met the same spell of a machine that others use as well.

    Raise ValueError where the two did not run the same number of rounds.
    """
    return Spread.of([mine / theirs for mine, theirs in zip(rounds, floor, strict=True)])


def by_figure(rounds: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Turn rounds of figures into figures over the rounds; each round must have the same ones."""
    names = list(rounds[0]) if rounds else []
    if any(list(each) != names for each in rounds):
        raise ValueError(f"the rounds do not have the same figures: {[list(r) for r in rounds]}")
    return {name: [each[name] for each in rounds] for name in names}


def shown(value: float) -> str:
    """Print three digits that matter, with commas between thousands."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(decimals, 4)}f}"
