"""What the coordinator tells the outside: log lines and metrics, both made from events."""

from coordinator.telemetry.emitter import LogFormat, Telemetry, configure

__all__ = ["LogFormat", "Telemetry", "configure"]
