"""The composition root: makes the parts, starts the tasks, takes the signals, drains.

process
├── health socket, watchdog, signals     cancelled last: health says "draining" to the end
└── life with the database               drained by an event, between two passes
"""

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import anyio

from coordinator import __version__
from coordinator.config import Settings
from coordinator.config.settings import changes
from coordinator.core.errors import ConfigError, CoordinatorError, ExitCode
from coordinator.core.events import (
    ConfigRejected,
    DaemonDraining,
    DaemonFailed,
    DaemonReady,
    DaemonReloaded,
    DaemonStarted,
    DaemonStopped,
    HealthListening,
    WatchdogWithheld,
)
from coordinator.daemon.addresses import Address, TcpAddress, UnixAddress
from coordinator.daemon.health import serve_health
from coordinator.daemon.health_state import Health, HealthState, Role
from coordinator.daemon.parts import Parts, grace, pause
from coordinator.daemon.progress import Progress
from coordinator.daemon.reigning import Life
from coordinator.daemon.systemd import Notifier, keep_watchdog
from coordinator.daemon.wakeup import WakeUp
from coordinator.store.dsn import ConnectTarget, connect_target
from coordinator.telemetry import Telemetry
from coordinator.telemetry.metrics import Metrics

_CLOSING = timedelta(seconds=1.5)  # what it takes to hang up on a database that is gone
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def run(
    settings: Settings,
    telemetry: Telemetry,
    environ: Mapping[str, str],
    reload: Callable[[], Settings],
    *,
    instance: UUID | None = None,
) -> ExitCode:
    """Run the daemon until a signal asks it to stop; return what to tell the starter.

    `environ` tells what systemd wants to know; `reload` reads the configuration again at SIGHUP.
    Raises ConfigError for what an operator must change, inside an exception group if late.
    """
    if settings.dsn is None:
        raise ConfigError(
            "no database is configured",
            "neither DATABASE_URL nor COORDINATOR_DSN is set",
            "Set one, or try it without a database of your own: coordinator dev.",
        )
    metrics = Metrics(version=__version__)
    metrics.watch_log(telemetry)
    unsubscribe = telemetry.subscribe(metrics.observe)
    try:
        target = connect_target(settings.dsn.get_secret_value())
        notifier = Notifier.from_environ(environ)
        daemon = _Daemon(settings, target, telemetry, notifier, reload, metrics)
        return await daemon.run(instance or uuid4())
    except Exception as error:
        cause = _cause(error)
        # A stack says nothing to whoever must change a setting.
        defect = None if isinstance(cause, CoordinatorError) else cause
        telemetry.emit(DaemonFailed(_reason(cause), type(cause).__name__), error=defect)
        raise
    finally:
        unsubscribe()


@dataclass(slots=True)
class _Daemon:
    settings: Settings
    target: ConnectTarget
    telemetry: Telemetry
    notifier: Notifier
    reload: Callable[[], Settings]
    metrics: Metrics
    parts: Parts = field(init=False)
    started_at: float = field(init=False)
    _ready: bool = field(default=False, init=False)
    _shown: str = field(default="", init=False)

    async def run(self, instance: UUID) -> ExitCode:
        self.started_at = anyio.current_time()
        self.parts = self._make_parts()
        self.telemetry.emit(DaemonStarted(os.getpid()))
        async with anyio.create_task_group() as background:
            bound = await background.start(
                partial(
                    serve_health,
                    _addresses(self.settings),
                    self.parts.health,
                    self.parts.progress,
                    self.metrics.render,
                    facts=self._log_facts,
                )
            )
            for address in bound:
                self.telemetry.emit(HealthListening(str(address)))
            background.start_soon(
                partial(
                    keep_watchdog,
                    self.notifier,
                    self.parts.progress,
                    self._tell_of_stall,
                    starting=self._is_starting,
                )
            )
            with anyio.CancelScope() as life:
                background.start_soon(self._obey_signals, life)
                await Life(self.parts, instance).live()
            background.cancel_scope.cancel()
        self.telemetry.emit(DaemonStopped(anyio.current_time() - self.started_at))
        return ExitCode.OK

    def _make_parts(self) -> Parts:
        return Parts(
            settings=self.settings,
            target=self.target,
            telemetry=self.telemetry,
            health=Health(HealthState(version=__version__, started_at=self.started_at)),
            progress=Progress(),
            drain=anyio.Event(),
            dispatch=WakeUp(),
            tail=WakeUp(),
            sweep=WakeUp(),
            watch=WakeUp(),
            on_change=self._show,
        )

    async def _obey_signals(self, life: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(*_STOP_SIGNALS, signal.SIGHUP) as received:
            async with anyio.create_task_group() as cutting:
                async for number in received:
                    if number == signal.SIGHUP:
                        self._reload()
                    elif self.parts.drain.is_set():
                        life.cancel()
                    else:
                        self._drain(signal.Signals(number).name)
                        cutting.start_soon(self._cut_after_grace, life)

    def _drain(self, reason: str) -> None:
        allowed = self.parts.settings.drain_grace
        self.telemetry.emit(DaemonDraining(reason, allowed.total_seconds()))
        self.notifier.stopping("draining")
        self.parts.drain.set()
        self.parts.change(draining=True)
        self.parts.wake_all()

    async def _cut_after_grace(self, life: anyio.CancelScope) -> None:
        """Cut what does not end by itself: a pass that hangs on a lost database loses nothing."""
        allowed = self.parts.settings.drain_grace
        await pause(max(allowed - _CLOSING, allowed / 2))
        life.cancel()

    def _reload(self) -> None:
        self.notifier.reloading()
        try:
            new = self.reload()
        except ConfigError as error:
            self.telemetry.emit(ConfigRejected(str(error)))
        else:
            self._apply(new)
        self.notifier.ready(self._shown)

    def _apply(self, new: Settings) -> None:
        parts, found = self.parts, changes(self.parts.settings, new)
        parts.settings = parts.settings.model_copy(
            update={name: getattr(new, name) for name in found.applied}
        )
        self.telemetry.level = parts.settings.log_level
        self.telemetry.log_content = parts.settings.log_content
        for loop, interval in (
            ("dispatch", parts.settings.safety_poll),
            ("sweep", parts.settings.sweep_interval),
            ("tail", parts.settings.tail_interval),
            ("listener", parts.settings.listener_probe),
            ("standby", parts.settings.leader_poll),
        ):
            parts.progress.allow(loop, within=grace(interval))
        self.telemetry.emit(DaemonReloaded(found.applied, found.needs_restart))
        parts.wake_all()

    def _show(self) -> None:
        """Tell the service manager what changed, and the first time that we are ready."""
        now = self.parts.health.now
        status = {
            Role.LEADER: f"leading, term {now.term}",
            Role.STANDBY: "standing by",
            Role.NONE: "waiting for the database",
        }[now.role]
        if not self._ready and now.started and not now.draining:
            self._ready = True
            self._shown = status
            self.notifier.ready(status)
            self.telemetry.emit(DaemonReady(now.role.value, anyio.current_time() - self.started_at))
        elif status != self._shown and not now.draining:
            self._shown = status
            self.notifier.status(status)

    def _is_starting(self) -> bool:
        return not self._ready and not self.parts.drain.is_set()

    def _log_facts(self) -> dict[str, object]:
        return {
            "log_stuck_s": round(self.telemetry.stuck_for.total_seconds(), 3),
            "log_lost_lines": self.telemetry.lost,
        }

    def _tell_of_stall(self, loop: str) -> None:
        self.telemetry.emit(WatchdogWithheld(loop))


def _cause(error: Exception) -> Exception:
    """The first of what several tasks raised; the others were cancelled because of it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _reason(cause: Exception) -> str:
    return str(cause) if isinstance(cause, CoordinatorError) else type(cause).__name__


def _addresses(settings: Settings) -> list[Address]:
    addresses: list[Address] = []
    if settings.health_address is not None:
        addresses.append(TcpAddress(*settings.health_address))
    if settings.health_socket is not None:
        addresses.append(UnixAddress(settings.health_socket))
    return addresses
