"""What the daemon says of itself: one frozen snapshot, and whether it means ready.

The daemon replaces the snapshot as things change; the health socket reads it. So an answer never
waits for the database, and never mixes two moments.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """What this daemon does among its peers."""

    NONE = "none"
    """Neither yet: it starts, or is cut off from the database."""
    LEADER = "leader"
    STANDBY = "standby"


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of being ready; `reason` says what is wrong when it does not hold."""

    name: str
    holds: bool
    reason: str


@dataclass(frozen=True, slots=True)
class HealthState:
    """One moment of the daemon. Instants are seconds on anyio's clock (`anyio.current_time`)."""

    version: str
    started_at: float
    role: Role = Role.NONE
    term: int | None = None
    """Which leadership this is; None for a daemon that does not lead."""
    schema_ok: bool = False
    """The schema in the database is the one that this release needs."""
    listener_up: bool = False
    """A notification to itself came back on the listener link."""
    trouble: str | None = None
    """What the last try met while the database is of no use; the log tells the first one alone."""
    first_scan_done: bool = False
    """A full scan has succeeded since the start."""
    draining: bool = False
    """The daemon ends its passes and will stop."""
    last_pass_at: Mapping[str, float] = field(default_factory=dict)
    """When each kind of pass last succeeded."""
    counters: Mapping[str, int] = field(default_factory=dict)
    """What has been counted since the start, such as handoffs dispatched."""

    @property
    def checks(self) -> list[Check]:
        """What must hold for this daemon to be ready; only a leader needs a listener and a scan."""
        checks = [
            Check("role", self.role is not Role.NONE, "neither leader nor standby"),
            Check("schema", self.schema_ok, "schema not checked or not the right one"),
            Check("draining", not self.draining, "draining"),
        ]
        if self.role is not Role.STANDBY:
            checks.append(Check("listener", self.listener_up, "listener not proven"))
            checks.append(Check("scan", self.first_scan_done, "no full scan yet"))
        return checks

    @property
    def started(self) -> bool:
        """Whether the start is over: the first scan is done, or another daemon leads."""
        return self.first_scan_done or self.role is Role.STANDBY


@dataclass(slots=True)
class Health:
    """Holds the newest snapshot: `health.now = replace(health.now, draining=True)`."""

    now: HealthState
