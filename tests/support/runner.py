"""`coordinator agent run` as a real process, around small commands in Python."""

import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.postgres import Database
from tests.support.processes import RunningProcess, coordinator
from tests.support.waiting import eventually

QUICK = {"COORDINATOR_HEARTBEAT_INTERVAL": "500ms", "COORDINATOR_SWEEP_INTERVAL": "100ms"}
"""What is no longer ours is noticed within half a second; the daemon would refuse the one alone."""
READY = "waits for handoffs"


def python(script: str, *arguments: str) -> tuple[str, ...]:
    """A command that runs this script."""
    return (sys.executable, "-c", script, *arguments)


@asynccontextmanager
async def runner(
    database: Database,
    *options: str,
    command: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    name: str = "ada",
) -> AsyncIterator[RunningProcess]:
    """Run an agent around a command; it is registered, and is stopped at the end."""
    environment = {"DATABASE_URL": database.dsn, **QUICK, **(env or {})}
    arguments = ("agent", "run", "--name", name, *options, *(("--", *command) if command else ()))
    async with coordinator(*arguments, env=environment, cwd=cwd) as process:
        await says(process, READY)
        yield process
        if process.process.poll() is None:
            process.kill(signal.SIGTERM)
            assert await process.wait() == 0, str(process)


async def says(process: RunningProcess, text: str) -> None:
    """Wait until this stands on its stdout or stderr."""

    async def probe() -> bool:
        ended = process.process.poll() is not None
        found = text in process.stdout + process.stderr
        assert found or not ended, str(process)
        return found

    await eventually(probe)


async def appears(file: Path) -> str:
    """Wait until a command has written a line into this file; return it without its end."""

    async def probe() -> str:
        text = file.read_text() if file.exists() else ""
        return text if text.endswith("\n") else ""

    return (await eventually(probe)).strip()


async def is_gone(pid: int) -> None:
    """Wait until no such process runs; one that nobody has reaped does not run."""

    async def probe() -> bool:
        stat = Path(f"/proc/{pid}/stat")
        try:
            return stat.read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    await eventually(probe)


def is_running(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").exists()
