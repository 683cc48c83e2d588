"""What demo and dev stand on: a private PostgreSQL, migrated, and `coordinator run` on it."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

import anyio

from coordinator.config.settings import environment_variable
from coordinator.core.errors import StoreUnavailable
from coordinator.demo.children import Child, Children
from coordinator.demo.options import DevOptions
from coordinator.embedded import PrivateServer, find_binaries
from coordinator.store.connection import Connection
from coordinator.store.dsn import connect_target
from coordinator.store.migrations import migrate

_READY_WITHIN = timedelta(seconds=30)
_MIGRATED_WITHIN = timedelta(minutes=5)
_LONGEST = 90
"""Bytes of a directory whose sockets' paths are surely short enough."""
_FOREIGN = (
    "PG",  # PGSSLMODE and the like are for the user's own database
    "DATABASE_URL",
    "NOTIFY_SOCKET",  # our service manager is not the daemon's
    "WATCHDOG_",
    "CREDENTIALS_DIRECTORY",
)


@asynccontextmanager
async def migrated_server(
    directory: Path, options: DevOptions, *, durable: bool
) -> AsyncIterator[PrivateServer]:
    """Run a server on `directory` until the block ends, its schema brought up to date first.

    Raise ConfigError where there is no server to run, or where the directory is in use.
    """
    binaries = find_binaries(options.pg_bin)
    async with PrivateServer.start(directory, binaries, durable=durable) as server:
        async with connected(server.dsn(), name="migrate", answer_within=_MIGRATED_WITHIN) as own:
            await migrate(own)
        yield server


@asynccontextmanager
async def connected(
    dsn: str, *, name: str, answer_within: timedelta = _READY_WITHIN
) -> AsyncIterator[Connection]:
    """A connection of our own, closed at the end of the block."""
    connection = await Connection.open(
        connect_target(dsn), application_name=f"coordinator {name}", answer_within=answer_within
    )
    try:
        yield connection
    finally:
        await connection.close()


@contextmanager
def runtime_directory(server: PrivateServer) -> Iterator[Path]:
    """A directory for the daemon's sockets, ours alone; removed at the end.

    It is beside the running server's data, where one that was killed has left it, unless that path
    is too long for a socket.
    """
    directory = server.directory / "daemon"
    if len(os.fsencode(directory)) > _LONGEST:
        with tempfile.TemporaryDirectory(prefix="coordinator-", dir="/tmp") as short:
            yield Path(short)
        return
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def start_daemon(children: Children, environ: Mapping[str, str], runtime: Path) -> Child:
    """Run `coordinator run` in this environment, and return once it says that it is ready.

    Like a service manager, this listens for READY=1; raise StoreUnavailable if it does not come.
    """
    address = runtime / "notify"
    async with await anyio.create_unix_datagram_socket(local_path=address) as notices:
        daemon = await children.start(
            "the daemon",
            ["-m", "coordinator", "run"],
            {**environ, "NOTIFY_SOCKET": str(address)},
        )
        try:
            with anyio.fail_after(_READY_WITHIN.total_seconds()):
                async for notice, _ in notices:
                    if b"READY=1" in notice.splitlines():
                        break
        except TimeoutError:
            raise StoreUnavailable(
                "the daemon does not become ready", f"It has had {_READY_WITHIN}"
            ) from None
    return daemon


def as_environment(settings: Mapping[str, object]) -> dict[str, str]:
    """The variables that give the daemon these settings."""
    return {environment_variable(name): str(value) for name, value in settings.items()}


def inherited(environ: Mapping[str, str], *, ours: bool) -> dict[str, str]:
    """What children get of the environment: nothing that names another database.

    `ours` keeps the settings of the coordinator that are no DSN.
    """
    unwanted = (*_FOREIGN, "COORDINATOR_DSN" if ours else "COORDINATOR_")
    return {name: value for name, value in environ.items() if not name.startswith(unwanted)}
