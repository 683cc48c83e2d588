"""A daemon whose log goes into a pipe that is read only when the test says so."""

import fcntl
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from anyio import to_thread

from coordinator.daemon.addresses import UnixAddress
from coordinator.daemon.health_client import HealthUnreachable, fetch_health
from tests.support.postgres import Database
from tests.support.processes import SCRIPT, LogLine
from tests.support.waiting import eventually

_LEAST = 4096
"""Bytes that the smallest pipe can hold."""
_SOON = timedelta(seconds=10)


@dataclass(slots=True)
class UnreadDaemon:
    """The process, and the end of its pipe that nobody reads yet."""

    process: subprocess.Popen[bytes]
    health: UnixAddress
    reading: int
    complaints: Path
    _text: bytearray = field(default_factory=bytearray)

    async def asked(self, path: str) -> tuple[int, str]:
        """What it says of itself."""
        status, body = await fetch_health(self.health, path, within=_SOON)
        return status, body.decode()

    async def status(self) -> dict[str, object]:
        """Its /status."""
        facts: dict[str, object] = json.loads((await self.asked("/status"))[1])
        return facts

    def begin_to_read(self) -> None:
        """Read from now on, to the end."""
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def lines(self) -> list[LogLine]:
        """The whole lines that were read so far; each must be one JSON object."""
        return [json.loads(line) for line in bytes(self._text).split(b"\n")[:-1]]

    @property
    def told(self) -> list[int]:
        """The numbers of the transitions that were read so far."""
        return [line["event_number"] for line in self.lines if "event_number" in line]

    async def ended(self, *, within: timedelta = _SOON) -> int:
        """The exit code."""
        return await to_thread.run_sync(self.process.wait, within.total_seconds())

    async def is_ready(self) -> bool:
        """Whether it leads or stands by."""
        try:
            return (await self.asked("/readyz"))[0] == 200
        except HealthUnreachable:
            return False

    def _read(self) -> None:
        while some := os.read(self.reading, _LEAST):
            self._text += some


@asynccontextmanager
async def unread_daemon(database: Database, **settings: str) -> AsyncIterator[UnreadDaemon]:
    """Run a daemon, ready, into the smallest of pipes; it is killed at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="coordinator-test-") as name:
        daemon = _spawn(database, Path(name), settings)
        try:
            await eventually(daemon.is_ready)
            yield daemon
        finally:
            daemon.process.kill()
            daemon.process.wait()
            os.close(daemon.reading)


def _spawn(database: Database, directory: Path, settings: Mapping[str, str]) -> UnreadDaemon:
    health, complaints = directory / "health", directory / "stderr"
    chosen = {"health_tcp": "off", "health_socket": str(health), **settings}
    environment = {f"COORDINATOR_{key.upper()}": value for key, value in chosen.items()}
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _LEAST)
    try:
        with complaints.open("wb") as stderr:
            process = subprocess.Popen(
                [SCRIPT, "run"],
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=stderr,
                env={**clean_environment(), "DATABASE_URL": database.dsn, **environment},
            )
    finally:
        os.close(writing)
    return UnreadDaemon(process, UnixAddress(health), reading, complaints)


def clean_environment() -> dict[str, str]:
    """Ours, without what would configure a daemon."""
    return {
        name: value
        for name, value in os.environ.items()
        if name != "DATABASE_URL" and not name.startswith(("COORDINATOR_", "PG"))
    }
