"""Every setting: its type, its default, its meaning, and what must hold between settings."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)

from coordinator.config.durations import duration, shown
from coordinator.config.sources import PREFIX, Given, gather
from coordinator.core.errors import ConfigError
from coordinator.core.events import Level

_SHORTEST = timedelta(milliseconds=10)
_LONGEST = timedelta(days=7)


def _in_range(span: timedelta) -> timedelta:
    if not _SHORTEST <= span <= _LONGEST:
        raise ValueError(f"must be from {shown(_SHORTEST)} to {shown(_LONGEST)}")
    return span


def _host_and_port(address: str) -> str:
    if address == "off":
        return address
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be host:port, such as 127.0.0.1:8787, or off")
    return address


Span = Annotated[timedelta, BeforeValidator(duration), AfterValidator(_in_range)]
Address = Annotated[str, AfterValidator(_host_and_port)]

RELOADABLE = frozenset(
    {
        "heartbeat_interval",
        "stale_after",
        "take_back_after",
        "accept_timeout",
        "disconnect_grace",
        "cancel_grace",
        "safety_poll",
        "sweep_interval",
        "tail_interval",
        "listener_probe",
        "leader_stale_after",
        "leader_poll",
        "drain_grace",
        "dispatch_batch",
        "hush_above",
        "log_level",
        "log_content",
    }
)
"""The settings that SIGHUP can change; the others need a restart."""


@dataclass(frozen=True, slots=True)
class Described:
    """One line of `config show`: secrets are masked."""

    name: str
    value: str
    origin: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between two configurations, by what it takes to make it hold."""

    applied: tuple[str, ...]
    needs_restart: tuple[str, ...]


class Settings(BaseModel):
    """The whole configuration of the daemon, checked and frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    dsn: SecretStr | None = Field(None, description="the database, as postgresql://…")
    heartbeat_interval: Span = Field(
        timedelta(seconds=10), description="how often agents are expected to be heard"
    )
    stale_after: Span = Field(
        timedelta(seconds=45), description="an agent silent for this long is blocked as stale"
    )
    take_back_after: Span = Field(
        timedelta(seconds=120),
        description="what an agent silent for this long holds is taken back",
    )
    disconnect_grace: Span = Field(
        timedelta(seconds=5),
        description="an agent of the SDK whose connection ended must be back within this time,"
        " or what it holds is taken back",
    )
    accept_timeout: Span = Field(
        timedelta(seconds=30), description="a registered agent must accept within this time"
    )
    cancel_grace: Span = Field(
        timedelta(seconds=30), description="an agent told to cancel must answer within this time"
    )
    safety_poll: Span = Field(
        timedelta(seconds=5),
        description="the longest time between two full scans for work, should a wake-up be lost",
    )
    sweep_interval: Span = Field(
        timedelta(milliseconds=2500), description="time between two looks for overdue work"
    )
    tail_interval: Span = Field(
        timedelta(seconds=5), description="the longest time until a transition is logged"
    )
    listener_probe: Span = Field(
        timedelta(seconds=3),
        description="the longest silence before the daemon notifies itself as a test",
    )
    leader_stale_after: Span = Field(
        timedelta(seconds=10), description="a leader without progress for this long is replaced"
    )
    leader_poll: Span = Field(
        timedelta(seconds=1), description="how often a standby looks at the leader"
    )
    drain_grace: Span = Field(
        timedelta(seconds=10), description="how long the daemon may take to stop"
    )
    dispatch_batch: int = Field(
        1000,
        ge=1,
        le=10_000,
        description="the most handoffs of one address dispatched in one transaction",
    )
    hush_above: int = Field(
        100,
        ge=0,
        le=100_000,
        description="notifications a second above which none are sent for a while, and the daemon"
        " looks by itself; 0: never",
    )
    health_tcp: Address = Field(
        "127.0.0.1:8787", description="address of the health socket, or off"
    )
    health_socket: Path | None = Field(
        None, description="path of a health socket in the file system"
    )
    log_format: Literal["auto", "json", "pretty"] = Field(
        "auto", description="auto: pretty on a terminal, JSON elsewhere"
    )
    log_level: Level = Field(Level.INFO, description="the quietest level that is logged")
    log_content: bool = Field(
        False, description="whether logs hold task text, context, results and errors of agents"
    )

    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str],
        *,
        file: Path | None = None,
        flags: Mapping[str, object] | None = None,
        others: Collection[str] = (),
    ) -> "Settings":
        """Gather and check the configuration; raise ConfigError naming every wrong key.

        `file` stands before the variable COORDINATOR_CONFIG. `others` are variables that begin
        with COORDINATOR_ and are read elsewhere.
        """
        given = gather(cls.model_fields, environ, file=file, flags=flags or {}, others=others)
        try:
            settings = cls.model_validate({name: raw.value for name, raw in given.items()})
        except ValidationError as error:
            raise _explained(error, given) from None
        settings._origins = {name: raw.origin for name, raw in given.items()}
        return settings

    @property
    def origins(self) -> Mapping[str, str]:
        """Where each setting's value was written; `default` for those nobody wrote."""
        return {name: self._origins.get(name, "default") for name in type(self).model_fields}

    @property
    def health_address(self) -> tuple[str, int] | None:
        """Host and port of the health socket; None when it is off."""
        if self.health_tcp == "off":
            return None
        host, _, port = self.health_tcp.rpartition(":")
        return host.strip("[]"), int(port)

    def describe(self) -> list[Described]:
        """Return each setting with its value, its origin and its meaning."""
        origins = self.origins
        return [
            Described(name, _shown(getattr(self, name)), origins[name], field.description or "")
            for name, field in type(self).model_fields.items()
        ]

    @model_validator(mode="after")
    def _agree(self) -> "Settings":
        problems = list(_disagreements(self))
        if problems:
            raise ValueError("\n".join(problems))
        return self


def changes(old: Settings, new: Settings) -> Changes:
    """Compare two configurations, as at a reload."""
    changed = [name for name in Settings.model_fields if getattr(old, name) != getattr(new, name)]
    return Changes(
        applied=tuple(name for name in changed if name in RELOADABLE),
        needs_restart=tuple(name for name in changed if name not in RELOADABLE),
    )


def _disagreements(settings: Settings) -> Iterator[str]:
    heartbeat, stale = settings.heartbeat_interval, settings.stale_after
    if stale < 3 * heartbeat:
        yield (
            f"stale_after ({shown(stale)}) must be at least 3 x heartbeat_interval "
            f"({shown(heartbeat)}), so that two lost heartbeats do not block a healthy agent: "
            f"raise stale_after to {shown(3 * heartbeat)}, or lower heartbeat_interval."
        )
    if settings.take_back_after < stale:
        yield (
            f"take_back_after ({shown(settings.take_back_after)}) must not be shorter than "
            f"stale_after ({shown(stale)}), since work is taken back only from an agent that was "
            f"found stale before: raise take_back_after to {shown(stale)} or more."
        )
    if settings.sweep_interval >= heartbeat:
        yield (
            f"sweep_interval ({shown(settings.sweep_interval)}) must be shorter than "
            f"heartbeat_interval ({shown(heartbeat)}), since a longer gap between two passes "
            f"grants an amnesty, and no agent would ever be found stale: lower sweep_interval."
        )
    if settings.leader_stale_after < 2 * settings.sweep_interval:
        yield (
            f"leader_stale_after ({shown(settings.leader_stale_after)}) must be at least "
            f"2 x sweep_interval ({shown(settings.sweep_interval)}), since a leader shows its "
            f"progress once a sweep and a healthy one would be replaced: raise leader_stale_after."
        )


def _explained(error: ValidationError, given: Mapping[str, Given]) -> ConfigError:
    problems = [
        _problem(str(found["loc"][0]), found["msg"], given) if found["loc"] else found["msg"]
        for found in error.errors(include_url=False, include_context=False)
    ]
    return ConfigError("\n".join(problem.replace("Value error, ", "") for problem in problems))


def _problem(name: str, message: str, given: Mapping[str, Given]) -> str:
    raw = given[name]
    value = "" if name == "dsn" else f" = {raw.value!r}"
    return f"{name}{value} ({raw.origin}): {message}"


def _shown(value: object) -> str:
    match value:
        case None:
            return ""
        case timedelta():
            return shown(value)
        case bool():
            return str(value).lower()
        case _:
            return str(value)  # a SecretStr shows asterisks


def environment_variable(name: str) -> str:
    """Return the variable that sets the setting `name`."""
    return PREFIX + name.upper()
