"""Whether the events prove what the demo claims: the chain, the crash, and no work done twice."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from coordinator.core.transitions import Transition
from coordinator.demo.watching import chain

_TASKS = 5
"""Plan, implement, review, fix, review again."""
_ENDS = {"handoff.succeeded", "handoff.taken_back", "handoff.attempt_failed", "handoff.failed"}


@dataclass(frozen=True, slots=True)
class Claim:
    """What the demo says it has shown."""

    root_id: UUID
    crashed: UUID
    """The handoff whose holder was killed in its first attempt."""
    victim: str
    """The agent that was killed."""


def faults(events: Sequence[Transition], claim: Claim) -> list[str]:
    """Each way in which the events contradict the claim; none if they prove it."""
    ours = chain(events, claim.root_id)
    return [
        *_unfinished(ours),
        *_crash_faults(events, claim),
        *_attempt_faults(ours, claim),
        *_double_holding(ours),
    ]


def _unfinished(ours: Sequence[Transition]) -> Iterator[str]:
    queued = {event.handoff_id for event in ours if event.event == "handoff.queued"}
    succeeded = Counter(event.handoff_id for event in ours if event.event == "handoff.succeeded")
    if len(queued) != _TASKS:
        yield f"the chain has {len(queued)} handoffs, not {_TASKS}"
    for handoff_id in queued:
        if succeeded[handoff_id] != 1:
            yield f"handoff {handoff_id} succeeded {succeeded[handoff_id]} times, not once"


def _crash_faults(events: Sequence[Transition], claim: Claim) -> Iterator[str]:
    """Whether these happened, in this order."""
    crashed = claim.crashed
    rest = iter([event for event in events if event.agent == claim.victim])
    for what, landmark in (
        ("the first attempt began", _Landmark("handoff.dispatched", crashed, 1)),
        ("the killed agent was found stale", _Landmark("agent.blocked", reason="stale")),
        ("its work was taken back", _Landmark("handoff.taken_back", crashed, 1, "lapsed")),
        ("a new life registered", _Landmark("agent.replaced")),
        ("the second attempt began", _Landmark("handoff.dispatched", crashed, 2)),
        ("the second attempt succeeded", _Landmark("handoff.succeeded", crashed, 2)),
    ):
        if not any(landmark.is_at(event) for event in rest):
            yield f"no event, or none in its place, says that {what}"
            return


@dataclass(frozen=True, slots=True)
class _Landmark:
    event: str
    handoff_id: UUID | None = None
    attempt: int | None = None
    reason: str | None = None

    def is_at(self, event: Transition) -> bool:
        return (
            (self.event, self.handoff_id, self.attempt)
            == (event.event, event.handoff_id, event.attempt)
        ) and self.reason in (None, event.detail.get("reason"))


def _attempt_faults(ours: Sequence[Transition], claim: Claim) -> Iterator[str]:
    dispatched = [event for event in ours if event.event == "handoff.dispatched"]
    times = Counter((event.handoff_id, event.attempt) for event in dispatched)
    for (handoff_id, attempt), count in times.items():
        if count > 1:
            yield f"attempt {attempt} of handoff {handoff_id} was dispatched {count} times"
    for handoff_id in {event.handoff_id for event in dispatched}:
        attempts = sum(event.handoff_id == handoff_id for event in dispatched)
        expected = 2 if handoff_id == claim.crashed else 1
        if attempts != expected:
            yield f"handoff {handoff_id} took {attempts} attempts, not {expected}"
    lives = [
        event.detail.get("incarnation") for event in dispatched if event.handoff_id == claim.crashed
    ]
    if len(set(lives)) != len(lives):
        yield "both attempts of the crashed work went to the same life of its agent"


def _double_holding(ours: Sequence[Transition]) -> Iterator[str]:
    """Whether an agent, or a handoff, ever had two attempts at once."""
    held_by: dict[UUID | None, str | None] = {}
    for event in ours:
        if event.event == "handoff.dispatched":
            if event.handoff_id in held_by:
                yield f"handoff {event.handoff_id} was dispatched while it was held"
            if event.agent in held_by.values():
                yield f"agent {event.agent} was given a second handoff at once"
            held_by[event.handoff_id] = event.agent
        elif event.event in _ENDS:
            held_by.pop(event.handoff_id, None)
