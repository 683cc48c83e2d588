"""Proof that notifications arrive: behind a pooler in transaction mode LISTEN is worth nothing.

LISTEN is accepted there, and what is notified goes to whoever has the server's session just then.
Only a notification from one connection to another tells; to itself, a pooler may well deliver it.
No verdict rests on a clock: what was notified arrives no later than the listener's next answer.
"""

from datetime import timedelta
from typing import Final
from uuid import uuid4

import anyio

from coordinator.core.errors import ConfigError
from coordinator.store.connection import Connection
from coordinator.store.dsn import ConnectTarget
from coordinator.store.schema_health import ring

_USUALLY_WITHIN: Final = timedelta(seconds=2)


async def hears(connection: Connection) -> bool:
    """Whether a notification from this connection reaches another one to the same place."""
    channel = f"proof_{uuid4().hex}"
    echo = anyio.Event()
    listener = await Connection.open(connection.target, application_name="coordinator probe")
    try:
        await listener.listen(channel, lambda _: echo.set())
        await ring(connection, channel)
        return await arrives(echo, listener)
    finally:
        await listener.close()


async def arrives(echo: anyio.Event, listener: Connection) -> bool:
    """Whether the echo of a notification that was committed reaches its listener.

    Raises StoreUnavailable when the listener's link is lost meanwhile.
    """
    with anyio.move_on_after(_USUALLY_WITHIN.total_seconds()):
        await echo.wait()
    if not echo.is_set():
        await _server_process(listener)
    return echo.is_set()


async def is_pooled(connection: Connection) -> bool:
    """Whether a pooler stands in between: it gives its clients process numbers of its own."""
    return await _server_process(connection) != connection.backend_pid


def deaf(target: ConnectTarget) -> ConfigError:
    """Say that nothing is heard at this place, and what to do."""
    return ConfigError(
        f"no notification arrives over {target}",
        "LISTEN was accepted but never delivers, as behind a pooler in transaction mode",
        "Connect directly or by a pooler in session mode (Supabase: port 5432, not 6543).",
    )


async def _server_process(connection: Connection) -> int:
    (row,) = await connection.run("server_process")
    return int(row["pid"])
