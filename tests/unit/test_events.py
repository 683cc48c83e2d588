"""What events are called, and what they tell."""

import inspect
import re
from datetime import UTC, datetime
from typing import get_type_hints
from uuid import UUID

import pytest

from coordinator.core import events
from coordinator.core.events import (
    DAEMON_EVENTS,
    DaemonEvent,
    LeadershipAcquired,
    Level,
    ListenerConnected,
)
from coordinator.core.transitions import SAFE_DETAILS, TRANSITIONS, Transition

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def a_transition(event: str = "handoff.queued", **detail: object) -> Transition:
    return Transition(
        sequence=41,
        occurred_at=NOON,
        event=event,
        handoff_id=UUID(int=7),
        attempt=1,
        agent=None,
        by_user="ada",
        by_application="psql",
        detail=detail,
    )


def test_names_are_unique_and_dotted() -> None:
    names = [*TRANSITIONS, *(event.name for event in DAEMON_EVENTS)]

    assert len(names) == len(set(names))
    assert [name for name in names if not re.fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)*", name)] == []


def test_the_list_of_the_daemons_events_is_complete() -> None:
    defined = {
        event
        for _, event in inspect.getmembers(events, inspect.isclass)
        if issubclass(event, DaemonEvent) and event is not DaemonEvent
    }

    assert set(DAEMON_EVENTS) == defined


@pytest.mark.parametrize("event", DAEMON_EVENTS)
def test_every_daemon_event_says_what_it_and_its_fields_mean(event: type[DaemonEvent]) -> None:
    hints = get_type_hints(event, include_extras=True)
    fields = {name: hint for name, hint in hints.items() if name not in ("name", "level")}

    assert (event.__doc__ or "").endswith(".")
    assert all(hint.__metadata__[0] for hint in fields.values())


@pytest.mark.parametrize("event", DAEMON_EVENTS)
def test_spans_of_time_are_named_with_their_unit(event: type[DaemonEvent]) -> None:
    floats = [name for name, hint in get_type_hints(event).items() if hint in (float, float | None)]

    assert all(name.endswith("_s") for name in floats)


def test_a_daemon_event_tells_its_fields() -> None:
    assert LeadershipAcquired(term=3).fields() == {"term": 3}


def test_an_absent_fact_has_no_field() -> None:
    assert ListenerConnected().fields() == {}


def test_a_transition_tells_its_row_and_the_safe_parts_of_its_detail() -> None:
    queued = a_transition(to_agent="trae", hop=2, waited_s=0.25)

    assert queued.fields() == {
        "event_number": 41,
        "occurred_at": NOON,
        "handoff_id": UUID(int=7),
        "attempt": 1,
        "by_user": "ada",
        "by_application": "psql",
        "to_agent": "trae",
        "hop": 2,
        "waited_s": 0.25,
    }


def test_a_transition_keeps_content_to_itself() -> None:
    failed = a_transition("handoff.failed", error="the key is hunter2", result={"secret": 1})

    assert not {"error", "result", "detail"} & set(failed.fields())


def test_a_transition_tells_its_whole_detail_when_asked() -> None:
    detail = a_transition("handoff.failed", error="boom", reason="said").fields(content=True)

    assert detail["detail"] == {"error": "boom", "reason": "said"}


def test_a_transition_that_only_a_newer_schema_knows_is_told_under_its_own_name() -> None:
    unheard = a_transition("handoff.polished")

    assert (unheard.name, unheard.level) == ("handoff.polished", Level.INFO)


def test_no_safe_detail_is_content() -> None:
    assert not {"task_description", "context", "result", "error", "last_error", "note"} & set(
        SAFE_DETAILS
    )
