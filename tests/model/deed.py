"""One operation: who does it, what must be answered, and what it makes of the model."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any
from uuid import UUID

_TOLD = 300
"""Characters of a deed's values that are told."""

Rows = list[Any]
"""Rows that compare as tuples, and name their columns."""
Answer = Rows | str
"""The rows, or the SQLSTATE of the refusal."""


class By(Enum):
    """Whose rights the deed is done with."""

    AGENT = auto()
    PLAIN = auto()
    DAEMON = auto()
    OWNER = auto()


class Order(Enum):
    """An order that concurrent deeds would leave to chance: only one of them at a time changes it.

    So a seed repeats a run, though deeds are done at the same time.
    """

    POSITIONS = auto()
    """Of handoffs in the queue."""
    IDLENESS = auto()
    """Since when agents are idle."""
    CLOCK = auto()
    """In which things become overdue."""
    ROLES = auto()
    """Who answers to which address."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The rows that a deed touched, as they are after it."""

    handoffs: Mapping[UUID, Any]
    agents: Mapping[str, Any]


class Contradiction(AssertionError):
    """The database did what the model does not allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """One operation on the database.

    `expected` is its whole answer, or None where `follows` or `observes` judge what came. What is
    not refused is taken into the model: by `follows`, or by `observes` where a choice is not known
    before its rows are seen. Both return the handoffs that were made, in their order. Deeds whose
    `writes` meet nobody's `reads` or `writes` may be done at the same time; an agent is named by
    its name, a handoff by its id.
    """

    name: str
    by: By
    sql: str
    values: tuple[object, ...] = ()
    expected: Answer | None = None
    follows: Callable[[Rows], Iterable[UUID] | None] = lambda _: ()
    observes: Callable[[Rows, Seen], Iterable[UUID] | None] | None = None
    writes: frozenset[Hashable] = frozenset()
    reads: frozenset[Hashable] = frozenset()

    @property
    def is_alone(self) -> bool:
        """Whether nothing else may be done meanwhile."""
        return self.observes is not None

    def meets(self, other: "Deed") -> bool:
        """Whether the two may not be done at the same time."""
        return (
            self.is_alone
            or other.is_alone
            or not self.writes.isdisjoint(other.writes | other.reads)
            or not self.reads.isdisjoint(other.writes)
        )

    def __str__(self) -> str:
        return f"{self.name} {str(self.values)[:_TOLD]}, expecting {str(self.expected)[:_TOLD]}"


def must(truth: object, what: object) -> None:
    """Raise Contradiction unless it is true."""
    if not truth:
        raise Contradiction(str(what))
