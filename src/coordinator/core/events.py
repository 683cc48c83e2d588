"""Everything the coordinator tells: one type an event, its name fixed, its fields checked.

There are two families. A `Transition` (in `coordinator.core.transitions`) is something that
happened to a handoff or an agent, whoever caused it. A `DaemonEvent` is what the daemon tells of
itself. Both are an `Event`: log lines, metrics and tests are readers of the same objects.

Names are `noun.past_participle`. Fields that end in `_s` are seconds. Levels: debug, a pass; info,
a change that someone may ask about; warning, something was healed; error, a human is needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Protocol


class Level(StrEnum):
    """How loud an event is, quietest first."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Event(Protocol):
    """Something that happened, with a stable name and stable fields."""

    @property
    def name(self) -> str:
        """The stable name, `noun.past_participle`."""

    @property
    def level(self) -> Level:
        """How loud it is."""

    def fields(self, *, content: bool = False) -> dict[str, object]:
        """Return what is known, absent facts left out; `content` adds what agents wrote."""


def known(told: Mapping[str, object]) -> dict[str, object]:
    """Leave out what is None: an absent fact has no field."""
    return {key: value for key, value in told.items() if value is not None}


@dataclass(frozen=True, slots=True)
class DaemonEvent:
    """Root of what the daemon tells of itself; a subclass's docstring is its meaning."""

    name: ClassVar[str]
    level: ClassVar[Level]

    def fields(self, *, content: bool = False) -> dict[str, object]:
        """Return the known fields; none of them is content."""
        return known({field.name: getattr(self, field.name) for field in fields(self)})


@dataclass(frozen=True, slots=True)
class DaemonStarted(DaemonEvent):
    """The process has read its configuration and begins."""

    name = "daemon.started"
    level = Level.INFO
    pid: Annotated[int, "process id"]


@dataclass(frozen=True, slots=True)
class DaemonReady(DaemonEvent):
    """It serves: as leader after its first full scan, or as standby."""

    name = "daemon.ready"
    level = Level.INFO
    role: Annotated[str, "leader or standby"]
    startup_s: Annotated[float, "seconds since the start"]


@dataclass(frozen=True, slots=True)
class DaemonDraining(DaemonEvent):
    """It was told to stop: it ends what has begun and begins nothing."""

    name = "daemon.draining"
    level = Level.INFO
    reason: Annotated[str, "the signal, or what else asked for it"]
    grace_s: Annotated[float, "seconds it may take"]


@dataclass(frozen=True, slots=True)
class DaemonStopped(DaemonEvent):
    """It has ended in order."""

    name = "daemon.stopped"
    level = Level.INFO
    uptime_s: Annotated[float, "seconds since the start"]


@dataclass(frozen=True, slots=True)
class DaemonFailed(DaemonEvent):
    """It ends because of something unexpected; the service manager starts it again."""

    name = "daemon.failed"
    level = Level.ERROR
    reason: Annotated[str, "what happened, in one sentence"]
    error_type: Annotated[str, "class of the error"]


@dataclass(frozen=True, slots=True)
class DaemonReloaded(DaemonEvent):
    """It has read its configuration again."""

    name = "daemon.reloaded"
    level = Level.INFO
    applied: Annotated[tuple[str, ...], "settings that changed and hold from now on"]
    needs_restart: Annotated[tuple[str, ...], "settings that changed and wait for a restart"]


@dataclass(frozen=True, slots=True)
class ConfigRejected(DaemonEvent):
    """The configuration read again is wrong; the old one stays in force."""

    name = "config.rejected"
    level = Level.ERROR
    reason: Annotated[str, "what is wrong"]


@dataclass(frozen=True, slots=True)
class LeadershipAwaited(DaemonEvent):
    """Another daemon leads; this one stands by."""

    name = "leadership.awaited"
    level = Level.INFO


@dataclass(frozen=True, slots=True)
class LeadershipAcquired(DaemonEvent):
    """This daemon leads from now on."""

    name = "leadership.acquired"
    level = Level.INFO
    term: Annotated[int, "number of this leadership; each new leader counts one up"]


@dataclass(frozen=True, slots=True)
class LeadershipLost(DaemonEvent):
    """This daemon no longer leads."""

    name = "leadership.lost"
    level = Level.WARNING
    reason: Annotated[str, "how it was noticed"]
    term: Annotated[int | None, "number of the lost leadership"] = None


@dataclass(frozen=True, slots=True)
class LeadershipSeized(DaemonEvent):
    """The leader had stalled, so this daemon ended the leader's backend."""

    name = "leadership.seized"
    level = Level.WARNING
    stalled_s: Annotated[float, "seconds since the old leader's last sign of progress"]
    term: Annotated[int | None, "number of the ended leadership"] = None


@dataclass(frozen=True, slots=True)
class LeadershipContested(DaemonEvent):
    """The lock of leadership is held by a session that this daemon may not end."""

    name = "leadership.contested"
    level = Level.ERROR
    holder_pid: Annotated[int, "the server process that holds it; end it, or use one role for all"]
    reason: Annotated[str, "what the database said"]


@dataclass(frozen=True, slots=True)
class SchemaAdvanced(DaemonEvent):
    """Newer releases have added to the schema; this one can work with it, and wants an upgrade."""

    name = "schema.advanced"
    level = Level.INFO
    found: Annotated[str | None, "version of the newest migration that the database has had"]
    needed: Annotated[str, "version of this release's newest migration"]


@dataclass(frozen=True, slots=True)
class ListenerConnected(DaemonEvent):
    """LISTEN is in force, and a notification to itself came back."""

    name = "listener.connected"
    level = Level.INFO
    outage_s: Annotated[float | None, "seconds without it; absent on the first connection"] = None


@dataclass(frozen=True, slots=True)
class ListenerLost(DaemonEvent):
    """Notifications no longer arrive; polls and reconnecting bridge the gap."""

    name = "listener.lost"
    level = Level.WARNING
    reason: Annotated[str, "how it was noticed"]


@dataclass(frozen=True, slots=True)
class StoreLost(DaemonEvent):
    """The database cannot be reached; the daemon waits for it."""

    name = "store.lost"
    level = Level.WARNING
    reason: Annotated[str, "what the attempt met"]


@dataclass(frozen=True, slots=True)
class StoreRestored(DaemonEvent):
    """The database answers again."""

    name = "store.restored"
    level = Level.INFO
    outage_s: Annotated[float, "seconds without it"]


@dataclass(frozen=True, slots=True)
class PassCompleted(DaemonEvent):
    """A pass has committed."""

    name = "pass.completed"
    level = Level.DEBUG
    pass_name: Annotated[str, "which pass, such as dispatch, sweep or tail"]
    took_s: Annotated[float, "seconds it took"]
    rows: Annotated[int, "how many rows it changed or read"] = 0


@dataclass(frozen=True, slots=True)
class PassFailed(DaemonEvent):
    """A pass has ended without a commit; it runs again."""

    name = "pass.failed"
    level = Level.WARNING
    pass_name: Annotated[str, "which pass"]
    error_type: Annotated[str, "class of the error"]


@dataclass(frozen=True, slots=True)
class PassOverrun(DaemonEvent):
    """A pass took longer than it should."""

    name = "pass.overrun"
    level = Level.WARNING
    pass_name: Annotated[str, "which pass"]
    took_s: Annotated[float, "seconds it took"]
    limit_s: Annotated[float, "seconds it should take at most"]


@dataclass(frozen=True, slots=True)
class AmnestyGranted(DaemonEvent):
    """No agent is found stale and nothing taken back until all have had time to be heard."""

    name = "amnesty.granted"
    level = Level.WARNING
    reason: Annotated[str, "what made silence no proof of death"]
    until: Annotated[datetime, "its end by the database's clock"]


@dataclass(frozen=True, slots=True)
class AmnestyEnded(DaemonEvent):
    """Verdicts fall again."""

    name = "amnesty.ended"
    level = Level.INFO


@dataclass(frozen=True, slots=True)
class TailReset(DaemonEvent):
    """The cursor into `coordination_events` was unusable and begins anew."""

    name = "tail.reset"
    level = Level.WARNING
    reason: Annotated[str, "what was wrong with it"]


@dataclass(frozen=True, slots=True)
class HealthListening(DaemonEvent):
    """A health socket answers."""

    name = "health.listening"
    level = Level.INFO
    address: Annotated[str, "host:port, or the path of the unix socket"]


@dataclass(frozen=True, slots=True)
class WatchdogWithheld(DaemonEvent):
    """A loop makes no progress, so the service manager gets no sign of life."""

    name = "watchdog.withheld"
    level = Level.ERROR
    loop: Annotated[str, "the loop that stands still"]


DAEMON_EVENTS: tuple[type[DaemonEvent], ...] = (
    DaemonStarted,
    DaemonReady,
    DaemonDraining,
    DaemonStopped,
    DaemonFailed,
    DaemonReloaded,
    ConfigRejected,
    LeadershipAwaited,
    LeadershipAcquired,
    LeadershipLost,
    LeadershipSeized,
    LeadershipContested,
    SchemaAdvanced,
    ListenerConnected,
    ListenerLost,
    StoreLost,
    StoreRestored,
    PassCompleted,
    PassFailed,
    PassOverrun,
    AmnestyGranted,
    AmnestyEnded,
    TailReset,
    HealthListening,
    WatchdogWithheld,
)
"""All events of the daemon's own, in the order of the reference page."""
