"""The causal tree, told from transitions and drawn as text."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from coordinator.core.transitions import Transition
from coordinator.operate.trace import Trace, build_trace, render_trace, render_trace_table

PLAN, BUILD, REVIEW, NOTE = (UUID(int=number) for number in range(1, 5))
_START = datetime(2027, 1, 31, 12, tzinfo=UTC)


class Told:
    """Transitions in order, a second apart."""

    def __init__(self) -> None:
        self.events: list[Transition] = []

    def __call__(
        self,
        event: str,
        handoff_id: UUID,
        *,
        attempt: int = 0,
        agent: str | None = None,
        **detail: object,
    ) -> None:
        number = len(self.events) + 1
        self.events.append(
            Transition(
                sequence=number,
                occurred_at=_START + timedelta(seconds=number),
                event=f"handoff.{event}",
                handoff_id=handoff_id,
                attempt=attempt,
                agent=agent,
                by_user="postgres",
                by_application="psql",
                detail=detail,
            )
        )

    def queued(self, handoff_id: UUID, way: str, parent: UUID | None = None) -> None:
        from_agent, _, to_agent = way.partition(" ")
        lineage: dict[str, Any] = {"parent_id": str(parent)} if parent else {}
        self("queued", handoff_id, from_agent=from_agent, to_agent=to_agent, **lineage)

    def done(self, handoff_id: UUID, agent: str, attempt: int = 1) -> None:
        self("dispatched", handoff_id, attempt=attempt, agent=agent, waited_s=0.5)
        self("accepted", handoff_id, attempt=attempt, agent=agent)
        self("succeeded", handoff_id, attempt=attempt, agent=agent)


def _a_chain_with_a_crash() -> Trace:
    told = Told()
    told.queued(PLAN, "you planner")
    told("dispatched", PLAN, attempt=1, agent="planner", waited_s=0.004)
    told("accepted", PLAN, attempt=1, agent="planner")
    told.queued(BUILD, "planner coder", PLAN)
    told.queued(NOTE, "planner scribe", PLAN)
    told("succeeded", PLAN, attempt=1, agent="planner")
    told("dispatched", BUILD, attempt=1, agent="ada", waited_s=0.1)
    told("taken_back", BUILD, attempt=1, agent="ada", reason="lapsed", error="was taken back")
    told("dispatched", BUILD, attempt=2, agent="grace", waited_s=0.1)
    told.queued(REVIEW, "grace reviewer", BUILD)
    told("attempt_failed", BUILD, attempt=2, agent="grace", reason="failed", error="no \x1b disk")
    told.done(BUILD, "ada", attempt=3)
    told("cancelled", NOTE, reason="cancelled")
    tasks = {PLAN: "plan it", BUILD: "build it", REVIEW: "review it"}
    return build_trace(PLAN, told.events, tasks)


def test_a_child_follows_its_parent() -> None:
    trace = _a_chain_with_a_crash()

    assert [(story.handoff_id, story.depth) for story in trace.stories] == [
        (PLAN, 0),
        (BUILD, 1),
        (REVIEW, 2),
        (NOTE, 1),
    ]
    assert [story.parent_id for story in trace.stories] == [None, PLAN, BUILD, PLAN]


def test_each_attempt_tells_who_and_how_it_ended() -> None:
    build = _a_chain_with_a_crash().stories[1]

    assert [(each.number, each.agent, each.ending, each.reason) for each in build.attempts] == [
        (1, "ada", "taken back", "lapsed"),
        (2, "grace", "attempt failed", "failed"),
        (3, "ada", "succeeded", None),
    ]
    assert build.state == "succeeded"
    assert build.took_s == 10.0


def test_the_tree_is_drawn() -> None:
    assert render_trace(_a_chain_with_a_crash()).splitlines() == [
        f'you → planner  "plan it"  succeeded in 5.0 s  {PLAN}',
        "│    12:00:02.000Z  attempt 1: planner after 0.004 s, accepted after 1.0 s,"
        " succeeded after 4.0 s",
        f'├─ planner → coder  "build it"  succeeded in 10 s  {BUILD}',
        "│  │    12:00:07.000Z  attempt 1: ada after 0.100 s, taken back after 1.0 s, lapsed",
        "│  │    12:00:09.000Z  attempt 2: grace after 0.100 s, attempt failed after 2.0 s,"
        " no \\x1b disk",
        "│  │    12:00:12.000Z  attempt 3: ada after 0.500 s, accepted after 1.0 s,"
        " succeeded after 2.0 s",
        f'│  └─ grace → reviewer  "review it"  pending  {REVIEW}',
        f"└─ planner → scribe  cancelled in 10 s  {NOTE}",
        "        12:00:15.000Z  cancelled while it waited, by postgres/psql",
    ]


def test_the_table_has_a_row_for_each_handoff() -> None:
    head, *rows = render_trace_table(_a_chain_with_a_crash()).splitlines()

    assert head.split() == ["HANDOFF", "FROM", "TO", "STATE", "ATTEMPTS", "TOOK", "TASK"]
    assert [row.split()[:5] for row in rows] == [
        [str(PLAN), "you", "planner", "succeeded", "1"],
        [str(BUILD), "planner", "coder", "succeeded", "3"],
        [str(REVIEW), "grace", "reviewer", "pending", "0"],
        [str(NOTE), "planner", "scribe", "cancelled", "0"],
    ]


def test_an_open_attempt_is_in_progress() -> None:
    told = Told()
    told.queued(PLAN, "you planner")
    told("dispatched", PLAN, attempt=1, agent="planner")

    trace = build_trace(PLAN, told.events, {})

    assert trace.stories[0].state == "in_progress"
    assert "attempt 1: planner, in progress" in render_trace(trace)


def test_a_reopened_handoff_waits_again() -> None:
    told = Told()
    told.queued(PLAN, "you planner")
    told.done(PLAN, "planner")
    told("reopened", PLAN, attempt=1)

    story = build_trace(PLAN, told.events, {}).stories[0]

    assert (story.state, story.finished_at) == ("pending", None)
    assert [remark.what for remark in story.remarks] == ["reopened"]


def test_a_late_result_is_remarked_and_changes_nothing() -> None:
    told = Told()
    told.queued(PLAN, "you planner")
    told.done(PLAN, "planner", attempt=2)
    told("settled_late", PLAN, attempt=1, agent="ghost", word="complete")

    story = build_trace(PLAN, told.events, {}).stories[0]

    assert story.state == "succeeded"
    assert [(remark.what, remark.attempt) for remark in story.remarks] == [
        ("late result kept as evidence", 1)
    ]


def test_a_deleted_handoff_keeps_its_place() -> None:
    told = Told()
    told.queued(PLAN, "you planner")
    told.queued(BUILD, "planner coder", PLAN)
    told("deleted", PLAN, reason="pending")

    trace = build_trace(PLAN, told.events, {BUILD: "build it"})

    assert [(story.state, story.depth) for story in trace.stories] == [
        ("deleted", 0),
        ("pending", 1),
    ]


def test_a_very_long_chain_is_drawn() -> None:
    told = Told()
    ids = [UUID(int=number) for number in range(1, 1002)]
    for parent, child in zip([None, *ids], ids, strict=False):
        told.queued(child, "ada grace", parent)

    drawn = render_trace(build_trace(ids[0], told.events, {}))

    assert len(drawn.splitlines()) == 1001


def test_nothing_known_is_an_empty_tree() -> None:
    assert render_trace(build_trace(PLAN, [], {})) == ""
