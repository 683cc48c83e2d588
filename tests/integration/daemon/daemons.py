"""`coordinator run` as a real process on a test's database, and the timings that tests use."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from tests.support.postgres import Database
from tests.support.processes import RunningProcess, coordinator

QUICK_SILENCE: Mapping[str, str] = {
    "heartbeat_interval": "500ms",
    "stale_after": "1500ms",
    "take_back_after": "2s",
    "sweep_interval": "100ms",
}
"""An agent is stale after 1.5 s, and loses its work after 2 s."""

QUICK_SWEEP: Mapping[str, str] = {"sweep_interval": "100ms"}
"""Promises are kept within 100 ms; silence is judged as slowly as ever."""

QUICK_TAIL: Mapping[str, str] = {"tail_interval": "250ms"}
"""What does not ring is logged within 250 ms."""


@asynccontextmanager
async def daemon(
    database: Database | str,
    *timings: Mapping[str, str],
    **settings: str,
) -> AsyncIterator[RunningProcess]:
    """Run a daemon; `settings` are named as in the configuration. It is killed at the end."""
    chosen: dict[str, str] = {"health_tcp": "off", "log_format": "json"}
    for timing in timings:
        chosen |= timing
    chosen |= settings
    variables = {f"COORDINATOR_{name.upper()}": value for name, value in chosen.items()}
    dsn = database if isinstance(database, str) else database.dsn
    async with coordinator("run", env={"DATABASE_URL": dsn, **variables}) as process:
        yield process


@asynccontextmanager
async def leader(
    database: Database | str, *timings: Mapping[str, str], **settings: str
) -> AsyncIterator[RunningProcess]:
    """Run a daemon that has finished its first full scan as the leader."""
    async with daemon(database, *timings, **settings) as process:
        await process.seen("daemon.ready", role="leader")
        yield process


def event_numbers(process: RunningProcess) -> list[int]:
    """The numbers of the transitions that a daemon has logged, in the order of its lines."""
    return [line["event_number"] for line in process.lines if "event_number" in line]
