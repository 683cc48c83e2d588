"""A private PostgreSQL, migrated, with the daemon on it as a process: what every figure needs."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread

from coordinator.embedded import PrivateServer, find_binaries

SCRIPT = Path(sys.executable).with_name("coordinator")
_READY_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Where to connect, what the server says, and which process the daemon is."""

    server: PrivateServer
    dsn: str
    daemon: subprocess.Popen[bytes]

    def cpu_s(self) -> float:
        """Processor time that the daemon has used so far, in seconds."""
        fields = Path(f"/proc/{self.daemon.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def statements(self) -> int:
        """How many statements the server has logged so far; none unless it was told to log them."""
        log = self.server.log.read_text(errors="replace")
        return log.count("LOG:  execute ") + log.count("LOG:  statement: ")


@asynccontextmanager
async def stage(*, log_statements: bool = False) -> AsyncIterator[Stage]:
    """Run a server and a daemon with the default settings until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="coordinator-bench-") as name:
        directory = Path(name)
        settings = {"log_statement": "all"} if log_statements else {}
        async with PrivateServer.start(
            directory / "server", find_binaries(prefer_major=15), settings=settings
        ) as server:
            dsn = server.dsn()
            await anyio.run_process([SCRIPT, "migrate"], env=environment(dsn))
            async with running_daemon(dsn, directory) as daemon:
                yield Stage(server, dsn, daemon)


def environment(dsn: str) -> dict[str, str]:
    """What a `coordinator` gets: the default settings on this database, and no port."""
    return {**os.environ, "DATABASE_URL": dsn, "COORDINATOR_HEALTH_TCP": "off"}


@asynccontextmanager
async def running_daemon(dsn: str, directory: Path) -> AsyncIterator["subprocess.Popen[bytes]"]:
    """Run a ready daemon until the end of the block; its log is in `directory`."""
    daemon = await to_thread.run_sync(_start, environment(dsn), directory / "daemon.log")
    try:
        yield daemon
    finally:
        daemon.terminate()
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(daemon.wait)


def _start(settings: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    """Start a daemon, and wait until its log says that it is ready."""
    with log.open("wb") as output:
        daemon = subprocess.Popen([SCRIPT, "run"], stdout=output, env=settings)
    deadline = time.monotonic() + _READY_WITHIN_S
    while '"daemon.ready"' not in log.read_text():
        if time.monotonic() > deadline or daemon.poll() is not None:
            daemon.kill()
            raise RuntimeError(f"the daemon is not ready: {log.read_text()}")
        time.sleep(0.05)
    return daemon
