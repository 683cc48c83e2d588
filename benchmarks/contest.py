"""The frame of a comparison: contenders on one server, round by round in turn, each one checked.

Rounds are interleaved, and begin with another contender each time, so that a busy spell of the
machine and the state that the round before leaves behind meet everybody. A round whose work was not
done as claimed ends the run: a figure of work that was not done is worse than none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.figures import by_figure

Figures = dict[str, float]
"""What one round gave, by name; the unit is in the name."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that must be so after a round, as the server tells it."""

    what: str
    expected: object
    found: object


class Mismatch(RuntimeError):
    """The server tells something else than was claimed; nothing measured here counts."""


class Contender(Protocol):
    """Something that does the work of a comparison."""

    @property
    def name(self) -> str:
        """Say who it is."""
        ...

    @property
    def setting(self) -> str:
        """Say how it was set, in words that its documentation knows."""
        ...

    @property
    def includes(self) -> str:
        """Say what its figures include."""
        ...

    async def prepare(self) -> None:
        """Make what every round needs; called once, before the first round of anybody."""
        ...

    async def round(self) -> Figures:
        """Do the work once, and leave nothing running."""
        ...

    async def check(self) -> Sequence[Fact]:
        """Read back what the round has left, as the server tells it."""
        ...


@dataclass(frozen=True, slots=True)
class Comparison:
    """One question, and who answers it; the ratios are against `floor`, a contender's name."""

    name: str
    question: str
    floor: str
    contenders: Sequence[Contender]


Results = dict[str, dict[str, list[float]]]
"""Figures over the rounds, by contender and by name."""


async def run(
    comparison: Comparison, *, rounds: int, told: Callable[[str], None] = lambda _: None
) -> Results:
    """Run all rounds; `told` hears each figure as it comes. Raise Mismatch and stop there."""
    for contender in comparison.contenders:
        await contender.prepare()
    found: dict[str, list[Figures]] = {each.name: [] for each in comparison.contenders}
    for number in range(rounds):
        for contender in rotated(comparison.contenders, number):
            figures = await contender.round()
            demand(await contender.check(), of=contender.name)
            found[contender.name].append(figures)
            told(f"{comparison.name} {number + 1}/{rounds} {contender.name}: {figures}")
    return {name: by_figure(figures) for name, figures in found.items()}


def rotated(contenders: Sequence[Contender], number: int) -> list[Contender]:
    """Return everybody, beginning with another one in each round."""
    start = number % max(len(contenders), 1)
    return [*contenders[start:], *contenders[:start]]


def demand(facts: Sequence[Fact], *, of: str) -> None:
    """Raise Mismatch unless all of it is so; an empty list proves nothing and is refused too."""
    wrong = [fact for fact in facts if fact.expected != fact.found]
    if wrong or not facts:
        told = "; ".join(f"{f.what}: expected {f.expected}, found {f.found}" for f in wrong)
        raise Mismatch(
            f"{of}: {told or 'nothing was read back'}. The round did not do what its figure says,"
            " so that the run ends here: mend the contender, or what it is checked by."
        )
