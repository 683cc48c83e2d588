"""PgBouncer in front of a test's server, on this machine or on a host of a `network`."""

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.network import Host
from tests.support.postgres import Database
from tests.support.processes import RunningProcess, running
from tests.support.waiting import eventually

PGBOUNCER: Final = shutil.which("pgbouncer", path=os.defpath + ":/usr/sbin:/usr/local/sbin")
"""The program, if this machine has it."""


@dataclass(slots=True)
class Pooler:
    """One PgBouncer, which may be killed and launched again in the same place."""

    database: Database
    address: str
    port: int
    _command: list[str]
    _lives: AsyncExitStack = field(default_factory=AsyncExitStack)
    _process: RunningProcess | None = None

    @property
    def dsn(self) -> str:
        """The superuser's way through it."""
        return self.dsn_as("postgres")

    def dsn_as(self, user: str) -> str:
        """Another role's way through it."""
        return (
            f"postgresql://{user}@{self.address}:{self.port}/{self.database.name}?sslmode=disable"
        )

    @property
    def pid(self) -> int | None:
        """Its process; None when it is not running."""
        if self._process is None or self._process.process.poll() is not None:
            return None
        return self._process.pid

    async def launch(self) -> None:
        """Start it, and return once it serves its port."""
        self._process = await self._lives.enter_async_context(running(self._command))
        # It says so on stderr, wherever its network is.
        await eventually(self._is_up)

    async def stop(self, sign: signal.Signals = signal.SIGKILL) -> None:
        """End it: SIGTERM at once, SIGINT when its clients have finished, SIGKILL as a crash."""
        if self._process is not None:
            self._process.kill(sign)
            await self._process.wait()

    async def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.process.poll() is not None:
            raise AssertionError(f"PgBouncer ended: {self._process}")
        return "process up" in self._process.stderr

    async def close(self) -> None:
        """End it for good."""
        await self._lives.aclose()


@asynccontextmanager
async def pooler(
    database: Database, mode: str, *, host: Host | None = None, server: str | None = None
) -> AsyncIterator[Pooler]:
    """Run PgBouncer on a host (None: here), before a server's address (None: its unix socket)."""
    assert PGBOUNCER is not None, "apt-get install pgbouncer"
    with tempfile.TemporaryDirectory(prefix="coordinator-test-") as name:
        directory = Path(name)
        address = host.address if host else "127.0.0.1"
        port = 6432 if host else free_port()
        config = directory / "pgbouncer.ini"
        config.write_text(
            "[databases]\n"
            f"* = host={server or database.server.directory / 'run'} port=5432 auth_user=postgres\n"
            "[pgbouncer]\n"
            f"pool_mode = {mode}\n"
            f"listen_addr = {address}\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {directory / 'users'}\n"
            # Whoever the server knows.
            "auth_query = select usename, passwd from pg_shadow where usename = $1\n"
            "max_client_conn = 300\ndefault_pool_size = 200\n"
            # Else whoever comes after a failed log-in of the pooler's own waits for 15 s.
            "server_login_retry = 1\nserver_connect_timeout = 3\n"
            # Else the session of a client that vanished, and what it has locked, lasts for hours.
            "tcp_keepidle = 2\ntcp_keepintvl = 1\ntcp_keepcnt = 2\ntcp_user_timeout = 4000\n"
        )
        (directory / "users").write_text('"postgres" ""\n')
        as_owner = as_owner_of(database.server.directory / "data", directory)
        command = [*as_owner, PGBOUNCER, str(config)]
        if host is not None:
            command = host.inside(*command)
        running_pooler = Pooler(database, address, port, command)
        try:
            await running_pooler.launch()
            yield running_pooler
        finally:
            await running_pooler.close()


def as_owner_of(data: Path, config: Path) -> list[str]:
    """PgBouncer refuses to run as root: let it be whoever reaches the server's socket."""
    owner = data.stat()
    if os.geteuid() != 0:
        return []
    if owner.st_uid == 0:
        return ["unshare", "--user"]
    for path in (config, *config.iterdir()):
        os.chown(path, owner.st_uid, owner.st_gid)
    return ["setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]


def free_port() -> int:
    """A port of the loopback interface that nobody uses."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
