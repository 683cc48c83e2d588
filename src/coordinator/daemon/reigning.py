"""From connecting to leading, and back: the daemon's life between two losses of the database.

    connect ──▶ stand by ──▶ lead: listen, then dispatch, sweep, tail and probe together
       ▲            │                     │
       └────────────┴──── lost link, or another leader ────┘

Any lost connection ends the whole reign, and everything begins anew: there is one way to recover,
and nothing in memory to repair. The database counts as back once a standby has looked at the
leader, or a leader has all its connections; what fails before that is one more try of one outage.
"""

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import anyio
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    wait_random_exponential,
)

from coordinator.core.errors import ConfigError, StoreUnavailable
from coordinator.core.events import (
    LeadershipAcquired,
    LeadershipLost,
    ListenerConnected,
    ListenerLost,
    SchemaAdvanced,
    StoreLost,
    StoreRestored,
)
from coordinator.daemon.dispatching import keep_dispatching
from coordinator.daemon.health_state import Role
from coordinator.daemon.leading import win
from coordinator.daemon.listening import ANSWER_WITHIN, Listener
from coordinator.daemon.parts import LeadershipGone, Parts, pause
from coordinator.daemon.sweeping import keep_sweeping
from coordinator.daemon.tailing import keep_tailing
from coordinator.daemon.watching import keep_watching
from coordinator.store import passes
from coordinator.store.connection import Connection
from coordinator.store.migrations import SchemaState, require_schema
from coordinator.store.passes import Reign

_E = TypeVar("_E", bound=Exception)
_CONNECTING_WITHIN = timedelta(minutes=2)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0
_RECONNECT_PAUSE = wait_random_exponential(multiplier=_FIRST_PAUSE_S, max=_LONGEST_PAUSE_S)


@dataclass(slots=True)
class Life:
    """The daemon's life with the database, until drained."""

    parts: Parts
    leader: UUID
    _lost_at: float | None = field(default=None, init=False)
    _deaf_since: float | None = field(default=None, init=False)
    _was_connected: bool = field(default=False, init=False)
    _fruitless: int = field(default=0, init=False)
    """Tries since the database was last of use."""
    _ahead: str | None = field(default=None, init=False)
    """The version of a schema that newer releases have added to, as told."""

    async def live(self) -> None:
        """Serve until drained, however often the database goes away."""
        reason = "the daemon has just started"
        while not self.parts.drain.is_set():
            try:
                async with self._link() as link:
                    if link is not None:
                        await self._serve(link, reason)
            except* StoreUnavailable as trouble:
                self._lose(_first(trouble))
                await pause(self._next_pause(), self.parts.drain)
            except* LeadershipGone as trouble:
                self._step_down(str(_first(trouble)))
            reason = "the daemon has just reconnected"

    async def _serve(self, link: Connection, reason: str) -> None:
        reign = await win(self.parts, link, self.leader, standing_by=self._is_of_use)
        if reign is None:
            return
        if self.parts.health.now.role is Role.STANDBY:
            reason = "this daemon has just taken over"
        self.parts.server = link.target
        listener = Listener(self.parts, link)
        await listener.begin()
        async with AsyncExitStack() as lines:
            dispatch, sweep, tail = [
                await lines.enter_async_context(self._line(purpose))
                for purpose in ("dispatch", "sweep", "tail")
            ]
            self._proclaim(reign)
            self.parts.forgiving = True  # as every reign begins, before its first look
            self.parts.wake_all()  # whatever was notified before LISTEN was in force
            async with anyio.create_task_group() as loops:
                loops.start_soon(listener.keep_probing)
                loops.start_soon(keep_dispatching, self.parts, dispatch, reign)
                loops.start_soon(_sweep_because, self.parts, sweep, reign, reason)
                loops.start_soon(keep_watching, self.parts, sweep)
                loops.start_soon(keep_tailing, self.parts, tail, reign)

    def _proclaim(self, reign: Reign) -> None:
        self._is_of_use()
        self.parts.telemetry.emit(LeadershipAcquired(reign.term))
        self.parts.telemetry.emit(ListenerConnected(_since(self._deaf_since)))
        self.parts.change(role=Role.LEADER, term=reign.term, listener_up=True)
        self._deaf_since = None

    @asynccontextmanager
    async def _line(self, purpose: str) -> AsyncIterator[Connection]:
        line = await self.parts.connect(purpose)
        try:
            yield line
        finally:
            await line.close()

    @asynccontextmanager
    async def _link(self) -> AsyncIterator[Connection | None]:
        link = await self._connect()
        try:
            yield link
        finally:
            if link is not None:
                if link.fell_silent:
                    self.parts.target = self.parts.target.beginning_after(link.target.hosts[0])
                await link.close()

    async def _connect(self) -> Connection | None:
        """Connect, for as long as it takes; None when drained before."""
        drain = self.parts.drain
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(StoreUnavailable),
            wait=_RECONNECT_PAUSE,
            sleep=lambda seconds: pause(timedelta(seconds=float(seconds)), drain),
            stop=lambda _: drain.is_set(),
            before_sleep=self._tell_of_outage,
            reraise=True,
        )
        with self.parts.progress.watch("connecting", within=_CONNECTING_WITHIN):
            try:
                link: Connection = await retrying(self._open)
            except StoreUnavailable:
                return None
        self._was_connected = True
        return link

    async def _open(self) -> Connection:
        try:
            link = await Connection.open(
                self.parts.target,
                application_name="coordinator listener",
                answer_within=ANSWER_WITHIN,
            )
        except ConfigError as error:
            # What was right a moment ago: a restore or a change of passwords may be under way.
            if self._was_connected:
                raise StoreUnavailable(error.what, error.why) from error
            raise
        try:
            await self._check(link)
        except BaseException:
            await link.close()
            raise
        return link

    async def _check(self, link: Connection) -> None:
        server = await passes.check_server(link)
        if server.standby and self._was_connected:
            raise StoreUnavailable("the server is a standby", "a failover may be under way")
        if server.standby:
            raise ConfigError(
                f"the server at {self.parts.target} is a standby",
                "nothing can be written or listened to there",
                "Name the primary, or all hosts with target_session_attrs=primary.",
            )
        schema = await require_schema(link)
        if schema.state is SchemaState.AHEAD and schema.found != self._ahead:
            self._ahead = schema.found
            self.parts.telemetry.emit(SchemaAdvanced(schema.found, schema.needed))
        self.parts.change(schema_ok=True)

    def _is_of_use(self) -> None:
        """Note that the database does what this daemon needs of it."""
        self._fruitless = 0
        self.parts.change(trouble=None)
        outage = _since(self._lost_at)
        if outage is not None:
            self._lost_at = None
            self.parts.telemetry.emit(StoreRestored(outage))

    def _next_pause(self) -> timedelta:
        """How long to wait after a try that failed though a connection was had: at first, not."""
        tries, self._fruitless = self._fruitless, self._fruitless + 1
        if not tries:
            return timedelta(0)
        longest = min(_FIRST_PAUSE_S * 2**tries, _LONGEST_PAUSE_S)
        return timedelta(seconds=random.uniform(0, longest))  # noqa: S311 - jitter

    def _tell_of_outage(self, state: RetryCallState) -> None:
        self.parts.progress.mark("connecting")
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, StoreUnavailable):
            self._lose(error)

    def _lose(self, error: StoreUnavailable) -> None:
        now = self.parts.health.now
        if now.listener_up:
            self._deaf_since = anyio.current_time()
            self.parts.telemetry.emit(ListenerLost(error.what))
        if now.role is Role.LEADER:
            self.parts.telemetry.emit(LeadershipLost(error.what, now.term))
        reason = f"{error.what}: {error.why or 'no reason given'}"
        if self._lost_at is None:
            self._lost_at = anyio.current_time()
            self.parts.telemetry.emit(StoreLost(reason))
        self.parts.change(role=Role.NONE, term=None, listener_up=False, trouble=reason)

    def _step_down(self, reason: str) -> None:
        self.parts.telemetry.emit(LeadershipLost(reason, self.parts.health.now.term))
        self.parts.change(role=Role.NONE, term=None, listener_up=False)


async def _sweep_because(parts: Parts, connection: Connection, reign: Reign, reason: str) -> None:
    await keep_sweeping(parts, connection, reign, reason=reason)


def _since(moment: float | None) -> float | None:
    return None if moment is None else anyio.current_time() - moment


def _first(group: BaseExceptionGroup[_E]) -> _E:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
