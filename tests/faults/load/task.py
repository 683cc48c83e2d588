"""What a handoff of the load asks of whoever holds it, and who answers to what."""

import random
from collections.abc import Sequence
from enum import Enum, auto

from pydantic import BaseModel, ConfigDict

EVERYBODY = "worker"
"""The role that every agent of the load answers to."""
SOME = "reviewer"
"""The role that the first agent of each process answers to as well."""

_LONGEST_USUAL_WORK_S = 0.05
_FAILS = 0.08
"""How often a body that may fail does."""
_LAST_RAISE = 2
"""The last attempt that may end by an exception: the schema's pause after it doubles each time."""


class Task(BaseModel):
    """The context of a handoff."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = 1
    """How long the chain is from here; the rest is handed on together with the completion."""
    work_s: float | None = None
    """How long the work takes; None leaves it to the dice."""
    must_succeed: bool = False
    """Nobody may give it up, and it has attempts enough for every fault."""

    @property
    def rest(self) -> "Task | None":
        """What is handed on once this step is done."""
        return self.model_copy(update={"steps": self.steps - 1}) if self.steps > 1 else None

    def takes_s(self, chance: random.Random) -> float:
        """How long the work takes this time."""
        return chance.uniform(0, _LONGEST_USUAL_WORK_S) if self.work_s is None else self.work_s


class Ending(Enum):
    """How a body ends that nobody stops."""

    DONE = auto()
    FAIL = auto()
    """It says that it has failed, and when it may be tried again."""
    RAISE = auto()
    """An exception leaves it; it is tried again after the schema's pause."""
    GIVE_UP = auto()
    """It fails for good."""


def ending(task: Task, attempt: int, chance: random.Random) -> Ending:
    """Decide how a body ends."""
    if chance.random() >= _FAILS:
        return Ending.DONE
    if task.must_succeed:
        return Ending.FAIL
    if attempt > _LAST_RAISE:
        return Ending.GIVE_UP
    return chance.choice((Ending.FAIL, Ending.RAISE, Ending.GIVE_UP))


def roles_of(name: str, names: Sequence[str]) -> list[str]:
    """Name the roles of one of a process's agents."""
    return [EVERYBODY, SOME] if name == names[0] else [EVERYBODY]
