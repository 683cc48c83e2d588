"""Whether a history keeps the promises: nothing lost, held twice, completed twice, or unlogged.

Read from `coordination_events` alone, in the order of their numbers; the rows of the queue must
then agree with where the history ends.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from tests.integration.schema.world import World

_ENDS_ATTEMPT = {"handoff.taken_back", "handoff.attempt_failed"}
_COMPLETES = {"handoff.succeeded", "handoff.failed", "handoff.cancelled"}


@dataclass(slots=True)
class Story:
    """One handoff, as its events tell it."""

    attempt: int = 0
    holder: str | None = None
    completions: int = 0


@dataclass(slots=True)
class History:
    """All handoffs and who holds what, while the events are read one after the other."""

    stories: dict[UUID, Story] = field(default_factory=dict)
    holding: dict[str, UUID] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def read(self, number: int, event: str, handoff_id: UUID, attempt: int, agent: str) -> None:
        """Take in one event, and note what may not be."""
        story = self.stories.setdefault(handoff_id, Story())
        if event == "handoff.dispatched":
            self._dispatched(number, handoff_id, story, attempt, agent)
        elif event in _ENDS_ATTEMPT or event in _COMPLETES:
            if story.holder is not None:
                self.holding.pop(story.holder, None)
            story.holder = None
            story.completions += event in _COMPLETES

    def _dispatched(
        self, number: int, handoff_id: UUID, story: Story, attempt: int, agent: str
    ) -> None:
        if story.completions:
            self.faults.append(f"{number}: {handoff_id} is dispatched though completed")
        if story.holder is not None:
            self.faults.append(f"{number}: {handoff_id} is held by {story.holder} and {agent}")
        if agent in self.holding:
            self.faults.append(f"{number}: {agent} holds {self.holding[agent]} and {handoff_id}")
        if attempt != story.attempt + 1:
            self.faults.append(f"{number}: {handoff_id} goes from {story.attempt} to {attempt}")
        story.attempt, story.holder = attempt, agent
        self.holding[agent] = handoff_id


async def faults_of_history(world: World) -> list[str]:
    """Say where the events or the rows break a promise; empty if nowhere."""
    history = History()
    rows = await world.rows(
        "select sequence, event, handoff_id, attempt, agent from coordination_events"
        " where handoff_id is not null order by sequence"
    )
    for row in rows:
        history.read(*row)
    handoffs = await world.rows("select id, status, outcome, attempt from handoffs")
    return [*history.faults, *_faults_of_rows(history, handoffs)]


def _faults_of_rows(history: History, handoffs: Sequence[Iterable[object]]) -> list[str]:
    faults = []
    for identity, status, outcome, attempt in handoffs:
        assert isinstance(identity, UUID)
        story = history.stories[identity]
        if (status, outcome) != ("completed", "succeeded"):
            faults.append(f"{identity} is {status}, {outcome}")
        if story.completions != 1:
            faults.append(f"{identity} was completed {story.completions} times")
        if story.attempt != attempt:
            faults.append(f"{identity} is in attempt {attempt}, its history in {story.attempt}")
    return faults


async def broken_chains(world: World, sent: Sequence[UUID], *, steps: int) -> list[str]:
    """Say which chains are missing, or have another length than the steps they were begun with."""
    rows = await world.rows(
        "select root_id, array_agg(hop order by hop) as hops from handoffs group by root_id"
    )
    hops = {row["root_id"]: row["hops"] for row in rows}
    whole = list(range(steps))
    return [f"{root}: {hops.get(root)}" for root in {*sent, *hops} if hops.get(root) != whole]


async def unlogged(world: World, logged: Counter[int]) -> list[int]:
    """Return the numbers of the transitions that no daemon has logged."""
    rows = await world.rows("select sequence from coordination_events order by sequence")
    return [row["sequence"] for row in rows if not logged[row["sequence"]]]
