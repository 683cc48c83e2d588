"""How fast a load was, by what its clients have noted."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.history import Note, Saw

_COUNTED = {"applied", "repeated"}
_S = 1e9


@dataclass(frozen=True, slots=True)
class Rate:
    """Handoffs a second, over the whole time in which there were any; faults included."""

    acknowledged: float
    """Handed off by a call of its own; follow-ups come on top."""
    completed: float
    """Completed as succeeded by an agent, follow-ups included."""

    def __str__(self) -> str:
        """Show both, as a battle prints them."""
        return f"{self.acknowledged:.1f}/s acknowledged, {self.completed:.1f}/s completed"


def rate_of(notes: Sequence[Note]) -> Rate:
    """Return the rate of a load whose notes these are, in the order of time."""
    succeeding: set[tuple[object, int | None]] = set()
    completed = []
    for note in notes:
        attempt = (note.handoff_id, note.attempt)
        if note.saw == "finishing" and note.outcome == "succeeded":
            succeeding.add(attempt)
        elif note.saw == "finished" and note.verdict in _COUNTED and attempt in succeeding:
            completed.append(note)
    return Rate(
        acknowledged=_per_second(_all(notes, "sending"), _all(notes, "acknowledged")),
        completed=_per_second(_all(notes, "accepted"), completed),
    )


def _all(notes: Sequence[Note], saw: Saw) -> list[Note]:
    return [note for note in notes if note.saw == saw]


def _per_second(begun: Sequence[Note], done: Sequence[Note]) -> float:
    if not begun or not done:
        return 0.0
    return len(done) / ((done[-1].at - begun[0].at) / _S)
