"""The causal tree: what a first handoff led to, attempt by attempt, told from the audit trail.

The trail is `coordination_events`; only the task text is read from a handoff's row. A handoff
whose row was deleted still has its place, since its events and its children name it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from coordinator.core.transitions import Transition
from coordinator.operate.table import Paint, columns, shortened, shown_span, shown_time, unpainted
from coordinator.store.connection import Statements
from coordinator.store.operator_calls import list_chain, list_handoff_events

_TASK_WIDTH = 48
_ENDINGS = {
    "handoff.succeeded": "succeeded",
    "handoff.failed": "failed",
    "handoff.cancelled": "cancelled",
}
_BACK_AGAIN = {"handoff.taken_back": "taken back", "handoff.attempt_failed": "attempt failed"}
_REMARKS = {
    "handoff.cancel_requested": "cancel requested",
    "handoff.reopened": "reopened",
    "handoff.settled_late": "late result kept as evidence",
    "handoff.deleted": "deleted",
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One dispatch: who got it, when, and how it ended. None: it has not happened."""

    number: int
    agent: str | None
    dispatched_at: datetime
    waited_s: float | None = None
    accepted_at: datetime | None = None
    ended_at: datetime | None = None
    ending: str | None = None
    """succeeded, failed, cancelled, taken back or attempt failed."""
    reason: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Remark:
    """Something else that happened to a handoff, and who did it."""

    at: datetime
    what: str
    attempt: int | None
    by: str


@dataclass(frozen=True, slots=True)
class Story:
    """One handoff's way. `state` is pending, in_progress, or how it ended."""

    handoff_id: UUID
    depth: int = 0
    parent_id: UUID | None = None
    from_agent: str = "?"
    to_agent: str = "?"
    task: str | None = None
    queued_at: datetime | None = None
    queued_by: str | None = None
    state: str = "pending"
    finished_at: datetime | None = None
    attempts: tuple[Attempt, ...] = ()
    remarks: tuple[Remark, ...] = ()

    @property
    def took_s(self) -> float | None:
        """Seconds from its arrival to its end; None before the end."""
        if self.finished_at is None or self.queued_at is None:
            return None
        return (self.finished_at - self.queued_at).total_seconds()


@dataclass(frozen=True, slots=True)
class Trace:
    """All that one handoff led to, in the order of the tree: a child follows its parent."""

    root_id: UUID
    stories: tuple[Story, ...] = field(default=())


async def load_trace(statements: Statements, root_id: UUID) -> Trace:
    """Read the causal tree of a root; it has no stories if nothing is known of this id."""
    rows = await list_chain(statements, root_id)
    ids = {row.id for row in rows} | {row.parent_id for row in rows if row.parent_id} | {root_id}
    events = await list_handoff_events(statements, sorted(ids))
    return build_trace(root_id, events, {row.id: row.task_description for row in rows})


def build_trace(root_id: UUID, events: Sequence[Transition], tasks: Mapping[UUID, str]) -> Trace:
    """Tell the stories of transitions that are in order."""
    by_handoff: dict[UUID, Story] = {}
    for event in events:
        if event.handoff_id is not None:
            story = by_handoff.get(event.handoff_id) or Story(event.handoff_id)
            by_handoff[event.handoff_id] = _told(story, event)
    stories = [replace(story, task=tasks.get(id_)) for id_, story in by_handoff.items()]
    return Trace(root_id, tuple(_in_tree_order(stories)))


def render_trace(trace: Trace, *, paint: Paint = unpainted) -> str:
    """Draw the tree: a line for each handoff, below it one for each attempt and remark."""
    lines: list[str] = []
    branches: list[bool] = []  # for each level above: do more siblings follow?
    for number, story in enumerate(trace.stories):
        more = _has_later_sibling(trace.stories, number)
        trunk = "".join("│  " if open_ else "   " for open_ in branches[1 : story.depth])
        knot = ("├─ " if more else "└─ ") if story.depth else ""
        lines.append(trunk + knot + _headline(story, paint))
        branches[story.depth :] = [more]
        has_children = _has_child(trace.stories, number)
        below = ("│  " if more else "   ") if story.depth else ""
        stem = trunk + below + ("│    " if has_children else "     ")
        lines += [stem + line for line in _happenings(story, paint)]
    return "\n".join(lines)


def render_trace_table(trace: Trace, *, paint: Paint = unpainted) -> str:
    """Lay the handoffs of a tree out as a table, as its transitions tell them."""
    return columns(
        ("HANDOFF", "FROM", "TO", "STATE", "ATTEMPTS", "TOOK", "TASK"),
        [
            (
                str(story.handoff_id),
                shortened(story.from_agent, 24),
                shortened(story.to_agent, 24),
                story.state,
                str(len(story.attempts)),
                shown_span(story.took_s),
                shortened(story.task or "-", _TASK_WIDTH),
            )
            for story in trace.stories
        ],
        paint=paint,
    )


def _told(story: Story, event: Transition) -> Story:
    match event.event:
        case "handoff.queued":
            return _queued(story, event)
        case "handoff.dispatched":
            return replace(story, state="in_progress", attempts=(*story.attempts, _begun(event)))
        case "handoff.accepted":
            return _on_last(story, accepted_at=event.occurred_at)
        case name if name in _BACK_AGAIN:
            return replace(_ended(story, event, _BACK_AGAIN[name]), state="pending")
        case name if name in _ENDINGS:
            ended = _ended(story, event, _ENDINGS[name])
            return replace(ended, state=_ENDINGS[name], finished_at=event.occurred_at)
        case name if name in _REMARKS:
            return _remarked(story, event)
        case _:
            return story


def _queued(story: Story, event: Transition) -> Story:
    parent = event.detail.get("parent_id")
    return replace(
        story,
        from_agent=str(event.detail.get("from_agent", "?")),
        to_agent=str(event.detail.get("to_agent", "?")),
        parent_id=UUID(str(parent)) if parent else None,
        queued_at=event.occurred_at,
        queued_by=_by(event),
    )


def _begun(event: Transition) -> Attempt:
    waited = event.detail.get("waited_s")
    return Attempt(
        number=event.attempt or 0,
        agent=event.agent,
        dispatched_at=event.occurred_at,
        waited_s=float(waited) if isinstance(waited, int | float) else None,
    )


def _ended(story: Story, event: Transition, ending: str) -> Story:
    if not story.attempts or story.attempts[-1].ended_at:
        # It ended without being held: cancelled or overdue while it waited.
        return _remarked(story, event)
    return _on_last(
        story,
        ended_at=event.occurred_at,
        ending=ending,
        reason=_text(event.detail.get("reason")),
        error=_text(event.detail.get("error")),
    )


def _remarked(story: Story, event: Transition) -> Story:
    what = _REMARKS.get(event.event) or f"{_ENDINGS[event.event]} while it waited"
    remark = Remark(event.occurred_at, what, event.attempt, _by(event))
    told = replace(story, remarks=(*story.remarks, remark))
    if event.event == "handoff.reopened":
        return replace(told, state="pending", finished_at=None)
    if event.event == "handoff.deleted":
        return replace(told, state="deleted")
    return told


def _on_last(story: Story, **changes: object) -> Story:
    if not story.attempts:
        return story
    last = replace(story.attempts[-1], **changes)  # type: ignore[arg-type]
    return replace(story, attempts=(*story.attempts[:-1], last))


def _in_tree_order(stories: Sequence[Story]) -> Iterator[Story]:
    known = {story.handoff_id for story in stories}
    children: defaultdict[UUID | None, list[Story]] = defaultdict(list)
    for story in stories:
        children[story.parent_id if story.parent_id in known else None].append(story)
    waiting = [(0, story) for story in reversed(children[None])]
    while waiting:  # a stack of its own: a chain may be longer than Python's
        depth, story = waiting.pop()
        yield replace(story, depth=depth)
        waiting += [(depth + 1, child) for child in reversed(children[story.handoff_id])]


def _has_later_sibling(stories: Sequence[Story], number: int) -> bool:
    depth = stories[number].depth
    for later in stories[number + 1 :]:
        if later.depth <= depth:
            return later.depth == depth
    return False


def _has_child(stories: Sequence[Story], number: int) -> bool:
    return number + 1 < len(stories) and stories[number + 1].depth > stories[number].depth


def _headline(story: Story, paint: Paint) -> str:
    way = f"{shortened(story.from_agent, 24)} → {shortened(story.to_agent, 24)}"
    task = f'  "{shortened(story.task, _TASK_WIDTH)}"' if story.task else ""
    took = f" in {shown_span(story.took_s)}" if story.took_s is not None else ""
    return f"{way}{task}  {paint(story.state, story.state)}{took}  {story.handoff_id}"


def _happenings(story: Story, paint: Paint) -> list[str]:
    told = [(each.dispatched_at, _attempt_line(each, paint)) for each in story.attempts]
    told += [(each.at, f"{each.what}, by {shortened(each.by, 48)}") for each in story.remarks]
    return [f"{shown_time(at)[11:]}  {line}" for at, line in sorted(told)]


def _attempt_line(attempt: Attempt, paint: Paint) -> str:
    parts = [f"attempt {attempt.number}: {shortened(attempt.agent or '?', 24)}"]
    if attempt.waited_s is not None:
        parts[0] += f" after {shown_span(attempt.waited_s)}"
    if attempt.accepted_at is not None:
        parts.append(f"accepted after {_since_dispatch(attempt, attempt.accepted_at)}")
    if attempt.ended_at is None:
        parts.append("in progress")
    else:
        ending = attempt.ending or ""
        painted = paint(ending, ending.partition(" ")[0])
        parts.append(f"{painted} after {_since_dispatch(attempt, attempt.ended_at)}")
        why = attempt.reason not in (None, "settled", "failed", "cancelled")
        parts += [attempt.reason] if why and attempt.reason else []
        parts += [shortened(attempt.error, 80)] if attempt.error and not why else []
    return ", ".join(parts)


def _since_dispatch(attempt: Attempt, moment: datetime) -> str:
    return shown_span((moment - attempt.dispatched_at).total_seconds())


def _by(event: Transition) -> str:
    return "/".join(filter(None, (event.by_user, event.by_application)))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
