"""PgBouncer behind the DSN: it serves in session mode, and is refused in transaction mode."""

import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.daemon.daemons import daemon, leader
from tests.integration.schema.world import World
from tests.support.postgres import Database
from tests.support.processes import running
from tests.support.waiting import eventually

PGBOUNCER = shutil.which("pgbouncer", path=os.defpath + ":/usr/sbin:/usr/local/sbin")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PGBOUNCER is None, reason="apt-get install pgbouncer"),
]


async def test_a_pooler_in_transaction_mode_is_named_in_the_error(database: Database) -> None:
    async with pooler(database, "transaction") as dsn, daemon(dsn) as process:
        assert await process.wait(within=timedelta(seconds=30)) == 78

        assert "pooler in transaction mode" in process.stderr
        assert "session mode" in process.stderr


async def test_a_pooler_in_session_mode_serves(database: Database) -> None:
    async with (
        pooler(database, "session") as dsn,
        leader(dsn) as process,
        World.on(database) as world,
    ):
        await world.agent("ada")

        handoff_id = await world.handoff("ada")

        await process.seen(
            "handoff.dispatched", within=timedelta(seconds=1), handoff_id=str(handoff_id)
        )


@asynccontextmanager
async def pooler(database: Database, mode: str) -> AsyncIterator[str]:
    """Run PgBouncer in front of a database; yield the DSN that leads through it."""
    with tempfile.TemporaryDirectory(prefix="coordinator-test-") as name:
        directory = Path(name)
        port = free_port()
        config = directory / "pgbouncer.ini"
        config.write_text(
            "[databases]\n"
            f"* = host={database.server.directory / 'run'} port=5432 user=postgres\n"
            "[pgbouncer]\n"
            f"pool_mode = {mode}\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            "auth_type = any\nmax_client_conn = 50\n"
        )
        command = [*as_owner_of(database.server.directory / "data", directory), PGBOUNCER, config]
        async with running([part for part in command if part is not None]):
            await eventually(lambda: answers(port))
            yield f"postgresql://postgres@127.0.0.1:{port}/{database.name}"


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


async def answers(port: int) -> bool:
    """Whether somebody listens on this port."""
    with socket.socket() as sock:
        sock.setblocking(True)
        return sock.connect_ex(("127.0.0.1", port)) == 0
