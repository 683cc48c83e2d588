"""What every loop of the daemon is given, and how a loop meets trouble.

There are two kinds of trouble. StoreUnavailable is waited out: on a connection that still stands
the pass is run again, on one that is lost the whole reign ends and begins anew. Anything else is
a defect, leaves the task group and ends the process: the service manager starts it again, and all
state is in PostgreSQL.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import anyio

from coordinator.config import Settings
from coordinator.core.errors import StoreUnavailable
from coordinator.core.events import PassCompleted, PassFailed, PassOverrun
from coordinator.daemon.health_state import Health
from coordinator.daemon.progress import Progress
from coordinator.daemon.wakeup import WakeUp
from coordinator.store.connection import Connection
from coordinator.store.dsn import ConnectTarget
from coordinator.store.passes import Limits
from coordinator.telemetry import Telemetry

_SLACK = timedelta(seconds=40)  # a statement's time limit of 30 s, and some more


@dataclass(slots=True)
class Parts:
    """The daemon's shared parts, made once by the composition root."""

    settings: Settings
    target: ConnectTarget
    telemetry: Telemetry
    health: Health
    progress: Progress
    drain: anyio.Event
    dispatch: WakeUp
    tail: WakeUp
    sweep: WakeUp
    watch: WakeUp
    on_change: Callable[[], None]
    server: ConnectTarget | None = None
    """The one host of this reign: its other connections lead where the leader's own does."""
    forgiving: bool = False
    """An amnesty is in force: the heartbeat that ends a long silence then rings nobody."""

    @property
    def limits(self) -> Limits:
        """The limits of a pass, as the settings have them now."""
        settings = self.settings
        return Limits(
            stale_after=settings.stale_after,
            take_back_after=settings.take_back_after,
            accept_timeout=settings.accept_timeout,
            cancel_grace=settings.cancel_grace,
            batch=settings.dispatch_batch,
        )

    def connect(self, purpose: str) -> Awaitable[Connection]:
        """Open a connection named for what it does."""
        target = self.server or self.target
        return Connection.open(target, application_name=f"coordinator {purpose}")

    def wake_all(self) -> None:
        """Let every loop look now; also at a drain, so that each sees that it should end."""
        self.dispatch.ring()
        self.tail.ring()
        self.sweep.ring()
        self.watch.ring()

    async def run_pass(
        self, name: str, connection: Connection, act: Callable[[], Awaitable[int]]
    ) -> bool:
        """Run one pass and tell of it; False if it failed and should run again soon.

        Raises StoreUnavailable when the connection has gone.
        """
        began = anyio.current_time()
        try:
            rows = await act()
        except StoreUnavailable as error:
            if connection.lost.is_set():
                raise
            # The loop turned: what it waits for is the database, which a restart would not mend.
            self.progress.mark(name)
            cause = error.__cause__ or error
            self.telemetry.emit(PassFailed(name, type(cause).__name__), error=error)
            return False
        now = anyio.current_time()
        self.progress.mark(name)
        self.change(last_pass_at={**self.health.now.last_pass_at, name: now})
        self.telemetry.emit(PassCompleted(name, now - began, rows))
        limit = self.settings.leader_stale_after.total_seconds() / 2
        if now - began > limit:
            self.telemetry.emit(PassOverrun(name, now - began, limit))
        return True

    def count(self, name: str, by: int) -> None:
        """Count something for the health socket."""
        counters = self.health.now.counters
        self.change(counters={**counters, name: counters.get(name, 0) + by})

    def change(self, **facts: object) -> None:
        """Replace facts of the health snapshot, and let `on_change` look at it."""
        self.health.now = replace(self.health.now, **facts)  # type: ignore[arg-type]
        self.on_change()


class LeadershipGone(Exception):
    """Another daemon leads by now; this one stops acting and stands by."""


async def pause(at_most: timedelta, *events: anyio.Event) -> None:
    """Wait until one of the events is set, or the time is over."""
    with anyio.move_on_after(at_most.total_seconds()):
        async with anyio.create_task_group() as waiting:

            async def wait(event: anyio.Event) -> None:
                await event.wait()
                waiting.cancel_scope.cancel()

            for event in events:
                waiting.start_soon(wait, event)


def grace(interval: timedelta) -> timedelta:
    """Return how long a loop that turns once an interval may make no progress."""
    return 2 * interval + _SLACK
