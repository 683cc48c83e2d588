"""What metrics are made of events."""

from datetime import UTC, datetime

import pytest

from coordinator.core.events import (
    Event,
    LeadershipAcquired,
    LeadershipAwaited,
    LeadershipLost,
    ListenerConnected,
    ListenerLost,
    PassCompleted,
    PassFailed,
)
from coordinator.core.transitions import Transition
from coordinator.telemetry.metrics import Metrics


def a_transition(event: str, **detail: object) -> Transition:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    return Transition(1, now, event, None, None, "trae", None, None, detail)


def after(*events: Event) -> list[str]:
    metrics = Metrics(version="1.2.3")
    for event in events:
        metrics.observe(event)
    return metrics.render().decode().splitlines()


def test_the_running_release_is_told() -> None:
    assert 'coordinator_build_info{version="1.2.3"} 1.0' in after()


def test_every_event_is_counted_by_its_name() -> None:
    lines = after(a_transition("handoff.queued"), a_transition("handoff.queued"))

    assert 'coordinator_events_total{event="handoff.queued"} 2.0' in lines
    assert 'coordinator_events_total{event="handoff.failed"} 0.0' in lines


def test_names_from_elsewhere_do_not_multiply_the_series() -> None:
    lines = after(a_transition("handoff.a"), a_transition("handoff.b", held_s=1))

    assert 'coordinator_events_total{event="unknown"} 2.0' in lines
    assert not [line for line in lines if '"handoff.a"' in line or '"handoff.b"' in line]


def test_waiting_and_work_are_measured_from_transitions() -> None:
    lines = after(
        a_transition("handoff.dispatched", waited_s=0.75),
        a_transition("handoff.succeeded", held_s=90),
    )

    assert "coordinator_handoff_wait_seconds_sum 0.75" in lines
    assert 'coordinator_handoff_duration_seconds_sum{event="handoff.succeeded"} 90.0' in lines


def test_a_measurement_that_is_no_number_is_left_out() -> None:
    assert "coordinator_handoff_wait_seconds_count 0.0" in after(
        a_transition("handoff.dispatched", waited_s="long")
    )


def test_passes_are_counted_by_result_and_timed() -> None:
    lines = after(PassCompleted("sweep", took_s=0.5), PassFailed("sweep", error_type="OSError"))

    assert 'coordinator_passes_total{pass="sweep",result="completed"} 1.0' in lines
    assert 'coordinator_passes_total{pass="sweep",result="failed"} 1.0' in lines
    assert 'coordinator_pass_seconds_sum{pass="sweep"} 0.5' in lines


@pytest.mark.parametrize(
    ("events", "value"),
    [
        ((), "0.0"),
        ((LeadershipAcquired(term=1),), "1.0"),
        ((LeadershipAcquired(term=1), LeadershipLost("gone")), "0.0"),
        ((LeadershipAwaited(),), "0.0"),
    ],
)
def test_leading_is_one_while_it_lasts(events: tuple[Event, ...], value: str) -> None:
    assert f"coordinator_leader {value}" in after(*events)


def test_the_listener_is_one_while_notifications_arrive() -> None:
    assert "coordinator_listener_up 1.0" in after(ListenerConnected())
    assert "coordinator_listener_up 0.0" in after(ListenerConnected(), ListenerLost("x"))
