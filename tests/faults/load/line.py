"""How a client without the SDK reaches the database: raw asyncpg, lost and opened anew for ever."""

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import anyio
import asyncpg

from coordinator.core.errors import StoreUnavailable
from coordinator.store.dsn import Host, connect_target
from coordinator.store.failures import translated
from tests.support.postgres import Connection

Answer = TypeVar("Answer")

_CONNECT_WITHIN = timedelta(seconds=3)
_ANSWER_WITHIN = timedelta(seconds=3)
_LONGEST_PAUSE_S = 0.5
_UNREACHABLE = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_OUR_OWN_MISTAKE = "42"


class Line:
    """One connection at a time, and what is asked over it in turn."""

    def __init__(
        self,
        dsn: str,
        application_name: str,
        chance: random.Random,
        *,
        greet: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        """Each new connection is brought into force by `greet`."""
        self._target = connect_target(dsn)
        self._application_name = application_name
        self._chance = chance
        self._greet = greet
        self._connection: Connection | None = None
        self._turn = anyio.Lock()

    async def ask(self, deed: Callable[[Connection], Awaitable[Answer]]) -> Answer:
        """Ask until there is an answer, over as many connections as that takes.

        A deed may be done more than once, since the answer to one that was done may be lost. Raises
        RequestRefused, which is an answer too.
        """
        while True:
            try:
                async with self._turn:
                    return await self._ask_once(deed)
            except StoreUnavailable:
                await anyio.sleep(self._chance.uniform(0, _LONGEST_PAUSE_S))

    async def _ask_once(self, deed: Callable[[Connection], Awaitable[Answer]]) -> Answer:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._dial()
            if self._greet is not None:
                await self._do(self._greet, self._connection)
        return await self._do(deed, self._connection)

    async def _do(
        self, deed: Callable[[Connection], Awaitable[Answer]], connection: Connection
    ) -> Answer:
        try:
            with _told_apart(connection), anyio.fail_after(_ANSWER_WITHIN.total_seconds()):
                return await deed(connection)
        except StoreUnavailable:
            # Its state is unknown, or its server is none that takes writes.
            connection.terminate()
            self._connection = None
            raise

    async def _dial(self) -> Connection:
        trouble: list[str] = []
        for host in self._target.hosts:
            try:
                return await self._connect(host)
            except asyncpg.ClientConfigurationError:
                raise
            except _UNREACHABLE as error:
                # A login refused, too: a restore or a failover may be under way.
                trouble.append(f"{host}: {error!r}")
        raise StoreUnavailable("no database", "; ".join(trouble))

    async def _connect(self, host: Host) -> Connection:
        arguments = self._target.arguments(host)
        settings = arguments.pop("server_settings") or {}
        limit = min(self._target.connect_timeout, _CONNECT_WITHIN)
        with anyio.fail_after(limit.total_seconds()):
            connection: Connection = await asyncpg.connect(
                **arguments,
                server_settings={"application_name": self._application_name} | settings,
            )
        return connection


@contextmanager
def _told_apart(connection: Connection) -> Iterator[None]:
    """Raise RequestRefused or StoreUnavailable; only a mistake of these clients flies as it is."""
    try:
        with translated(connection.is_closed):
            yield
    except asyncpg.PostgresError as error:
        if (error.sqlstate or "").startswith(_OUR_OWN_MISTAKE):
            raise
        raise StoreUnavailable("the database is in trouble", repr(error)) from error
