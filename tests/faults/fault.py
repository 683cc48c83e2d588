"""What every fault is: a way to break something for a while, mend it, and prove that it struck.

One file a fault under `tests/faults/blows/`. A fault knows nothing of the load or of the promises;
it breaks a `Field`, and the history tells whether the promises held.
"""

from dataclasses import dataclass
from typing import Protocol

from tests.faults.field import Field


class NotStruck(Exception):
    """The fault could not be shown to have struck; a run in which it never strikes fails."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One blow: which fault, and the proof (a pid that changed, a count, a log line)."""

    fault: str
    proof: str
    began: int
    """By CLOCK_MONOTONIC, in nanoseconds."""
    ended: int
    holds_locks: bool


class Fault(Protocol):
    """One way to break something."""

    @property
    def name(self) -> str:
        """What is broken, as in `server killed`."""
        ...

    @property
    def holds_locks(self) -> bool:
        """Whether rows are locked by somebody else meanwhile: work may then be passed over."""
        ...

    async def strike(self, field: Field) -> str:
        """Break it, let it be broken for as long as the dice say, mend it; return the proof.

        Leaves the field as it was, also when cancelled. Raises NotStruck where nothing was there
        to break.
        """
        ...
