"""What a plant is: a way to break a promise that the checker must find."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.checking.record import History, Row, Rule
from tests.faults.planted.forgery import Forgery

_Spoil = Callable[[Forgery], None]


@dataclass(frozen=True, slots=True)
class Plant:
    """One violation. All else is left in order, so that its rule is the only one that is told."""

    rule: Rule
    spoil: _Spoil

    def in_(self, history: History) -> History:
        """A history with this violation."""
        forgery = Forgery(history)
        self.spoil(forgery)
        return forgery.history()

    def __str__(self) -> str:
        """As pytest shows it."""
        return self.spoil.__name__


def breaks(rule: Rule) -> Callable[[_Spoil], Plant]:
    """Make a plant of a function that breaks this rule once."""
    return lambda spoil: Plant(rule, spoil)


def a_root(forgery: Forgery, *statuses: str, acknowledged: bool = True) -> Row:
    """A row of a handoff that somebody sent by itself."""
    return forgery.some_row(
        lambda row: (
            row.parent_id is None
            and row.status in statuses
            and forgery.saw("acknowledged", row.id) is acknowledged
        )
    )
