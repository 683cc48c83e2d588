"""Prometheus metrics, derived from the same events as the log lines.

Labels are bounded: names of events and of passes, never ids and never names of agents.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from coordinator.core.events import (
    DAEMON_EVENTS,
    Event,
    LeadershipAcquired,
    LeadershipAwaited,
    LeadershipLost,
    ListenerConnected,
    ListenerLost,
    PassCompleted,
    PassFailed,
)
from coordinator.core.transitions import TRANSITIONS, Transition
from coordinator.telemetry.emitter import Telemetry

_KNOWN_EVENTS = frozenset(TRANSITIONS) | {event.name for event in DAEMON_EVENTS}
_WAIT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 43200)
_DURATION_BUCKETS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 43200)
_PASS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """Counts what it is told; `observe` is a subscriber for `Telemetry`."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, *, version: str) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        Info("coordinator_build", "The running release.", registry=registry).info(
            {"version": version}
        )
        self._events = Counter(
            "coordinator_events", "Events told, by name.", ["event"], registry=registry
        )
        self._wait = Histogram(
            "coordinator_handoff_wait_seconds",
            "From being available to being dispatched.",
            buckets=_WAIT_BUCKETS,
            registry=registry,
        )
        self._duration = Histogram(
            "coordinator_handoff_duration_seconds",
            "From being dispatched to the end of the attempt, by the event that ended it.",
            ["event"],
            buckets=_DURATION_BUCKETS,
            registry=registry,
        )
        self._pass_seconds = Histogram(
            "coordinator_pass_seconds",
            "How long a committed pass took.",
            ["pass"],
            buckets=_PASS_BUCKETS,
            registry=registry,
        )
        self._passes = Counter(
            "coordinator_passes", "Passes run, by result.", ["pass", "result"], registry=registry
        )
        self._leader = Gauge("coordinator_leader", "1 while this process leads.", registry=registry)
        self._listener_up = Gauge(
            "coordinator_listener_up", "1 while notifications arrive.", registry=registry
        )
        for name in sorted(_KNOWN_EVENTS):
            self._events.labels(name)

    def watch_log(self, telemetry: Telemetry) -> None:
        """Measure how the log gets out, whenever somebody asks."""
        Gauge(
            "coordinator_log_stuck_seconds",
            "How long lines have waited for a reader and none was written.",
            registry=self._registry,
        ).set_function(lambda: telemetry.stuck_for.total_seconds())
        Gauge(
            "coordinator_log_lost_lines",
            "Log lines since the start that nobody will read.",
            registry=self._registry,
        ).set_function(lambda: telemetry.lost)

    def observe(self, event: Event) -> None:
        """Count one event and take its measurements."""
        self._events.labels(_bounded(event.name)).inc()
        match event:
            case Transition():
                self._measure(event)
            case PassCompleted():
                self._passes.labels(event.pass_name, "completed").inc()
                self._pass_seconds.labels(event.pass_name).observe(event.took_s)
            case PassFailed():
                self._passes.labels(event.pass_name, "failed").inc()
            case LeadershipAcquired():
                self._leader.set(1)
            case LeadershipLost() | LeadershipAwaited():
                self._leader.set(0)
            case ListenerConnected():
                self._listener_up.set(1)
            case ListenerLost():
                self._listener_up.set(0)
            case _:
                pass

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def _measure(self, transition: Transition) -> None:
        waited_s = _seconds(transition, "waited_s")
        if waited_s is not None:
            self._wait.observe(waited_s)
        held_s = _seconds(transition, "held_s")
        if held_s is not None:
            self._duration.labels(_bounded(transition.name)).observe(held_s)


def _bounded(name: str) -> str:
    return name if name in _KNOWN_EVENTS else "unknown"


def _seconds(transition: Transition, key: str) -> float | None:
    value = transition.detail.get(key)
    return max(float(value), 0.0) if isinstance(value, int | float) else None
