"""One connection to the database: named statements, transactions, channels. Nothing else opens one.

asyncpg sets no keepalive and its time limit covers a whole list of hosts, so both are done here. A
connection that timed out or broke is ended and not used again: its state is unknown.
"""

import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol, Self

import anyio
import asyncpg

from coordinator.core.errors import ConfigError, StoreUnavailable
from coordinator.store import tls
from coordinator.store.dsn import ConnectTarget, Host, Keepalive
from coordinator.store.failures import translated
from coordinator.store.queries import query

Record = asyncpg.Record
_ANSWER_WITHIN = timedelta(seconds=30)
# Of the time for an answer. The server gives up a lock first, which costs a statement and not the
# link. A statement it gives up last, when we have hung up: a commit that waits for a synchronous
# standby is not undone by its time limit but acknowledged, and a failover could lose it.
_LOCK_WITHIN, _STATEMENT_WITHIN = 0.8, 1.5
_TRANSACTIONS_HAVE_LIMITS = 17
"""The first PostgreSQL in which an operator's limit may end them, and the session with them."""
_CLOSE_WITHIN = timedelta(seconds=0.2)
# The server's half of noticing a dead peer, and no surprises from a stranger's defaults.
_SESSION = {
    "jit": "off",
    # Planning anew costs more than running, and these statements have one good plan each.
    "plan_cache_mode": "force_generic_plan",
    # A plan is kept with its session, and one made while a table was seen empty would scan it from
    # end to end once it is full. Where no index helps it is scanned all the same.
    "enable_seqscan": "off",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "idle_in_transaction_session_timeout": "60000",
    "idle_session_timeout": "0",
    "default_transaction_isolation": "'read committed'",
}


class Statements(Protocol):
    """What runs named statements: a connection, or a transaction on it."""

    async def run(self, name: str, **parameters: object) -> list[Record]:
        """Run `sql/<name>.sql` and return its rows."""
        ...


class Connection:
    """A connection of our own, outside any pool. One statement at a time, in turn."""

    def __init__(self, raw: "asyncpg.Connection[Record]", target: ConnectTarget) -> None:
        self._raw = raw
        self._turn = anyio.Lock()
        self.target = target
        """The one host where this connection leads, of all that were named."""
        self.lost = anyio.Event()
        self.fell_silent = False
        """We hung up, since no answer came; its host may not be what it was."""
        self._when_lost: list[Callable[[], None]] = []
        raw.add_termination_listener(lambda _: self._lose())

    @classmethod
    async def open(
        cls,
        target: ConnectTarget,
        *,
        application_name: str,
        answer_within: timedelta = _ANSWER_WITHIN,
        lock_within: timedelta | None = None,
    ) -> Self:
        """Connect to the first host that answers, each with its own time limit.

        A statement has its answer, or fails; a shorter limit may hold for waiting on locks.

        Raises StoreUnavailable when none does, ConfigError when every one of them refuses who we
        are or shows no certificate that we trust.
        """
        trouble: list[str] = []
        refused: list[ConfigError] = []
        for host in target.hosts:
            try:
                raw = await _connect(
                    target,
                    host,
                    application_name,
                    answer_within,
                    lock_within or answer_within * _LOCK_WITHIN,
                )
            except StoreUnavailable as error:
                trouble.append(f"{host}: {error.why}")
            except ConfigError as error:
                trouble.append(f"{host}: {error.what}")
                refused.append(error)
            else:
                return cls(raw, replace(target, hosts=(host,)))
        if len(refused) == len(target.hosts):
            raise refused[0]
        raise StoreUnavailable(f"no database at {target}", "; ".join(trouble))

    async def run(self, name: str, **parameters: object) -> list[Record]:
        """Run `sql/<name>.sql` and return its rows; raise StoreUnavailable or RequestRefused."""
        async with self._turn:
            return await self._run(name, parameters)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Statements]:
        """Have the connection alone for what is inside; each statement commits by itself."""
        async with self._turn:
            yield _Turn(self._run)

    async def execute(self, script: str) -> None:
        """Run a script of several statements in one transaction, as psql -1 would."""
        async with self._turn:
            with self._noticing():
                await self._raw.execute(script)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Statements]:
        """Run what is inside in one transaction; the connection is ours alone meanwhile."""
        async with self.turn() as statements:
            with self._noticing():
                async with self._raw.transaction():
                    yield statements

    async def listen(self, channel: str, hear: Callable[[str], None]) -> None:
        """Call `hear` with each payload heard on a channel. Scan after this returns, not before."""

        def heard(_: object, __: int, ___: str, payload: object) -> None:
            hear(str(payload))

        async with self._turn:
            with self._noticing():
                await self._raw.add_listener(channel, heard)

    def when_lost(self, call: Callable[[], None]) -> None:
        """Call back once the connection has gone, however that is noticed; it must not raise."""
        self._when_lost.append(call)

    @property
    def backend_pid(self) -> int:
        """The server process behind this connection; a pooler makes up a number of its own."""
        return self._raw.get_server_pid()

    async def close(self) -> None:
        """Say goodbye within a fifth of a second, else hang up."""
        with anyio.CancelScope(shield=True), suppress(StoreUnavailable), translated(lambda: True):
            await self._raw.close(timeout=_CLOSE_WITHIN.total_seconds())
        self._lose()

    def hang_up(self) -> None:
        """Drop the connection at once, without a word."""
        self.fell_silent = True
        self._raw.terminate()
        self._lose()

    def _lose(self) -> None:
        if not self.lost.is_set():
            self.lost.set()
            for call in self._when_lost:
                call()

    async def _run(self, name: str, parameters: dict[str, object]) -> list[Record]:
        statement = query(name)
        with self._noticing():
            return await self._raw.fetch(statement.text, *statement.arguments(parameters))

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        """Translate what is raised inside, and hang up where the connection is of no more use."""
        try:
            with translated(self._is_lost):
                yield
        except StoreUnavailable as error:
            # After a time limit (an OSError) its state is unknown, and asyncpg may break off with
            # an InternalClientError without ever telling its termination listeners.
            if self._is_lost() or isinstance(
                error.__cause__, OSError | asyncpg.InternalClientError
            ):
                self.hang_up()
            raise

    def _is_lost(self) -> bool:
        try:
            return self._raw.is_closed()
        except asyncpg.InterfaceError:
            return True


class _Turn:
    def __init__(self, run: Callable[[str, dict[str, object]], Any]) -> None:
        self._run = run

    async def run(self, name: str, **parameters: object) -> list[Record]:
        """Run `sql/<name>.sql` in this turn and return its rows."""
        rows: list[Record] = await self._run(name, parameters)
        return rows


async def _connect(
    target: ConnectTarget,
    host: Host,
    application_name: str,
    answer_within: timedelta,
    lock_within: timedelta,
) -> "asyncpg.Connection[Record]":
    """Connect to one host. No error keeps its cause: the driver's variables hold the password."""
    arguments = target.arguments(host)
    settings = {"application_name": application_name} | (arguments.pop("server_settings") or {})
    try:
        with translated(lambda: True), anyio.fail_after(target.connect_timeout.total_seconds()):
            raw: asyncpg.Connection[Record] = await asyncpg.connect(
                **arguments,
                server_settings=settings,
                command_timeout=answer_within.total_seconds(),
            )
            try:
                _keep_alive(raw, target.keepalive)
                await _prepare(raw, answer_within, lock_within)
            except BaseException:
                raw.terminate()
                raise
    except (
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
    ) as error:
        raise ConfigError(
            f"the database at {host} refuses us",
            str(error),
            "Check user, password and database of the DSN.",
        ) from None
    except StoreUnavailable as error:
        mode = tls.sslmode(host.host, target.security)
        known = tls.trouble(error.__cause__, str(host), mode=mode)
        if known is None:
            raise error.with_traceback(None) from None
        raise known from None
    except asyncpg.ObjectNotInPrerequisiteStateError as error:  # allow_connections = false
        raise StoreUnavailable("the database takes no connections now", str(error)) from None
    except asyncpg.ClientConfigurationError as error:
        raise ConfigError("the DSN cannot be used", str(error)) from None
    return raw


def _keep_alive(raw: "asyncpg.Connection[Record]", keepalive: Keepalive) -> None:
    transport = getattr(raw, "_transport", None)
    sock = transport.get_extra_info("socket") if transport else None
    if sock is None or sock.family == socket.AF_UNIX:
        return
    for level, option, value in keepalive.socket_options():
        sock.setsockopt(level, option, value)


async def _prepare(
    raw: "asyncpg.Connection[Record]", answer_within: timedelta, lock_within: timedelta
) -> None:
    # Not in the startup packet: a pooler would refuse the connection for them.
    settings = {
        **_SESSION,
        "lock_timeout": _milliseconds(lock_within),
        "statement_timeout": _milliseconds(answer_within * _STATEMENT_WITHIN),
    }
    if raw.get_server_version().major >= _TRANSACTIONS_HAVE_LIMITS:
        settings["transaction_timeout"] = "0"
    try:
        await raw.execute("; ".join(f"set {name} = {value}" for name, value in settings.items()))
    except asyncpg.QueryCanceledError:
        raise  # an operator's limit is still in force
    except asyncpg.PostgresError:
        pass  # a pooler knows better
    for kind in ("json", "jsonb"):
        await raw.set_type_codec(kind, schema="pg_catalog", encoder=as_json, decoder=_decode)


def _milliseconds(span: timedelta) -> str:
    return str(span // timedelta(milliseconds=1))


def as_json(value: object) -> str:
    """Write a JSON value as a parameter is written; what is none raises as `json.dumps` does."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _decode(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        # PostgreSQL keeps numbers of any length and lists in lists by the thousand. Whoever may
        # write a row could end every process that reads it.
        return {"unreadable": f"JSON of {len(text)} characters: {error}"}
