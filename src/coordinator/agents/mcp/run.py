"""What runs beside the server, and how it ends: at the client's end, or at a signal."""

import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup
from mcp.server.lowlevel import Server

from coordinator.agents.background import background
from coordinator.agents.mcp.deeds import Desk
from coordinator.agents.mcp.news import News
from coordinator.agents.mcp.place import Place
from coordinator.agents.mcp.server import make_server
from coordinator.agents.mcp.waiting import Waiting
from coordinator.agents.mcp.work import Work

Serve = Callable[[Server[Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """Which agent the server is, and where its state lives."""

    way: str | Path
    """The DSN of a database, or the socket of a runner."""
    name: str
    roles: Sequence[str]
    heartbeat_interval: timedelta


async def run(options: AgentOptions, serve: Serve) -> None:
    """Serve as this agent until `serve` returns, or a signal asks for an end; then leave."""
    place = Place(
        options.way,
        options.name,
        roles=options.roles,
        heartbeat_interval=options.heartbeat_interval,
    )
    news = News()
    place.overheard = news.hear
    work = Work(place)
    place.heard = work.hear
    server = make_server(Desk(place, work, Waiting(place, work)), news)
    async with background() as tasks:
        tasks.start_soon(_end_at_signal, tasks)
        tasks.start_soon(place.keep)
        tasks.start_soon(work.keep_away)
        tasks.start_soon(news.spread)
        await serve(server)


async def _end_at_signal(tasks: TaskGroup) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            tasks.cancel_scope.cancel()
            return
