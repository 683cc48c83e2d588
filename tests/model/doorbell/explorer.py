"""Breadth-first over every order of things, until a wake-up is lost or everything is seen.

Worlds of the same `form` are one state. The first loss found is a shortest one.
"""

from array import array
from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from tests.model.doorbell import leader, mishaps, writers
from tests.model.doorbell.form import form
from tests.model.doorbell.protocol import Protocol
from tests.model.doorbell.world import Scene, World, is_asleep, opening, overlooked


@dataclass(frozen=True)
class Finding:
    """What a search has seen: how many states, and a shortest way to a loss if there is one."""

    states: int
    loss: tuple[str, ...] = ()
    """What happened, step by step, in plain words; empty if no wake-up can be lost."""
    asleep: int = 0
    """States in which the leader sleeps, with nothing left to do."""
    trapped: int = 0
    """States from which it can no longer come to that sleep. With a loss nobody has counted."""

    @property
    def holds(self) -> bool:
        """Whether no order of things loses a wake-up."""
        return not self.loss

    def __str__(self) -> str:
        if self.holds:
            return f"no wake-up can be lost: {self.states:,} states"
        told = [f"{number:3}. {step}" for number, step in enumerate(self.loss, 1)]
        return "\n".join([f"a wake-up is lost; {self.states:,} states were looked at", *told])


def explore(scene: Scene, protocol: Protocol) -> Finding:
    """Look at every state that the scene can come to under a protocol."""
    seen = _Seen()
    frontier = deque([(seen.number(opening(scene), protocol), opening(scene))])
    seen.note(0, "")
    while frontier:
        here, world = frontier.popleft()
        for told, after in next_steps(world, scene, protocol):
            there = seen.number(after, protocol)
            seen.connect(here, there)
            if not seen.is_new(there):
                continue
            seen.note(here, told)
            if lost := overlooked(after):
                return Finding(there + 1, loss=(*seen.story(there), _told(lost)))
            if is_asleep(after):
                seen.asleep.append(there)
            frontier.append((there, after))
    return Finding(len(seen.by), asleep=len(seen.asleep), trapped=seen.trapped())


def next_steps(world: World, scene: Scene, protocol: Protocol) -> Iterator[writers.Step]:
    """Every step that anybody may take next, told in a sentence, with the world after it."""
    yield from leader.steps(world, protocol)
    yield from writers.steps(world, scene, protocol)
    yield from mishaps.steps(world, scene, protocol)


def _told(lost: list[str]) -> str:
    return f"The leader sleeps, nothing is on its way, and a handoff waits at {', '.join(lost)}."


@dataclass
class _Seen:
    """The states so far, each by its number, and how it was first reached."""

    numbers: dict[Hashable, int] = field(default_factory=dict)
    came_from: "array[int]" = field(default_factory=lambda: array("L"))
    by: list[str] = field(default_factory=list)
    asleep: list[int] = field(default_factory=list)
    steps: "array[int]" = field(default_factory=lambda: array("L"))
    """Pairs: from here to there."""
    shared: dict[Hashable, Hashable] = field(default_factory=dict)
    """Parts of states, each kept once: half a million of states fit into memory so."""

    def number(self, world: World, protocol: Protocol) -> int:
        shared = self.shared
        key = tuple(shared.setdefault(part, part) for part in form(world, protocol))
        return self.numbers.setdefault(key, len(self.numbers))

    def is_new(self, number: int) -> bool:
        return number == len(self.by)

    def note(self, came_from: int, told: str) -> None:
        self.came_from.append(came_from)
        self.by.append(told)

    def connect(self, here: int, there: int) -> None:
        self.steps.append(here)
        self.steps.append(there)

    def story(self, number: int) -> tuple[str, ...]:
        """How a state was reached."""
        told = []
        while number:
            told.append(self.by[number])
            number = self.came_from[number]
        return tuple(reversed(told))

    def trapped(self) -> int:
        """Count the states from which none of `asleep` can be reached."""
        before: dict[int, list[int]] = {}
        for here, there in zip(self.steps[::2], self.steps[1::2], strict=True):
            before.setdefault(there, []).append(here)
        free, frontier = set(self.asleep), list(self.asleep)
        while frontier:
            for here in before.get(frontier.pop(), ()):
                if here not in free:
                    free.add(here)
                    frontier.append(here)
        return len(self.numbers) - len(free)
