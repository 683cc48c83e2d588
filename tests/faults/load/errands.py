"""What senders hand off: a mix drawn by dice, of all that a handoff can be told."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum, auto
from uuid import UUID, uuid4

from tests.faults.load.task import EVERYBODY, SOME, Task


class Flaw(Enum):
    """What makes the database refuse an errand."""

    BLANK_TASK = auto()
    NO_ATTEMPTS = auto()
    UNKNOWN_PARENT = auto()
    USED_KEY = auto()
    """Its key belongs to other content."""


@dataclass(frozen=True, slots=True)
class Errand:
    """A handoff to be made."""

    to_agent: str
    task: Task
    task_description: str = "an errand"
    priority: int = 0
    delay: timedelta | None = None
    deadline: timedelta | None = None
    timeout: timedelta | None = None
    max_attempts: int = 3
    parent_id: UUID | None = None
    cancel_after_s: float | None = None
    flaw: Flaw | None = None


class Mix:
    """Draws one errand after the other."""

    def __init__(self, chance: random.Random, names: Sequence[str]) -> None:
        self._chance = chance
        self._names = names
        self._kinds = {
            self._chain: 45,
            self._single: 22,
            self._delayed: 8,
            self._with_deadline: 7,
            self._with_timeout: 4,
            self._to_be_cancelled: 7,
            self._flawed: 7,
        }

    def draw(self) -> Errand:
        """Draw the next errand."""
        [kind] = self._chance.choices(list(self._kinds), list(self._kinds.values()))
        errand = kind(self._address())
        if self._chance.random() < 1 / 5:
            errand = replace(errand, priority=self._chance.randint(-5, 5))
        return errand

    def _address(self) -> str:
        name = self._chance.choice(self._names)
        [address] = self._chance.choices([EVERYBODY, SOME, name], [50, 10, 40])
        return address

    def _chain(self, address: str) -> Errand:
        # Attempts enough for every fault of a long battle.
        steps = self._chance.randint(1, 4)
        return Errand(address, Task(steps=steps, must_succeed=True), max_attempts=1000)

    def _single(self, address: str) -> Errand:
        return Errand(address, Task(), max_attempts=self._chance.randint(1, 3))

    def _delayed(self, address: str) -> Errand:
        return Errand(address, Task(), delay=self._span(0, 1), max_attempts=5)

    def _with_deadline(self, address: str) -> Errand:
        return Errand(address, Task(), deadline=self._span(0.02, 1))

    def _with_timeout(self, address: str) -> Errand:
        # Some of these are over before the sweep sees that they took too long.
        work_s = self._chance.uniform(0, 0.4)
        return Errand(address, Task(work_s=work_s), timeout=self._span(0.05, 0.2), max_attempts=2)

    def _to_be_cancelled(self, address: str) -> Errand:
        after_s, work_s = self._chance.uniform(0, 0.3), self._chance.uniform(0, 0.3)
        return Errand(address, Task(work_s=work_s), cancel_after_s=after_s)

    def _flawed(self, address: str) -> Errand:
        flaw = self._chance.choice(list(Flaw))
        errand = Errand(address, Task(), flaw=flaw)
        match flaw:
            case Flaw.BLANK_TASK:
                return replace(errand, task_description=" ")
            case Flaw.NO_ATTEMPTS:
                return replace(errand, max_attempts=0)
            case Flaw.UNKNOWN_PARENT:
                return replace(errand, parent_id=uuid4())
            case Flaw.USED_KEY:
                return replace(errand, task_description="another errand")

    def _span(self, least_s: float, most_s: float) -> timedelta:
        return timedelta(seconds=self._chance.uniform(least_s, most_s))
