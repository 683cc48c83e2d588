"""What runs beside the server, and how it ends: at the client's end, or at a signal."""

import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup
from mcp.server.lowlevel import Server

from coordinator.agents.background import background
from coordinator.agents.mcp.deeds import Desk
from coordinator.agents.mcp.hooks import Hooks
from coordinator.agents.mcp.news import News
from coordinator.agents.mcp.place import Place
from coordinator.agents.mcp.server import make_server
from coordinator.agents.mcp.waiting import Waiting
from coordinator.agents.mcp.work import Work
from coordinator.waking.door import Door

Serve = Callable[[Server[Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """Which agent the server is, and where its state lives."""

    way: str | Path
    """The DSN of a database, or the socket of a runner."""
    name: str
    roles: Sequence[str]
    heartbeat_interval: timedelta
    door: Door | None
    """Where it hears the hooks of its session; None where it hears none."""
    one_session: bool
    """Whether it ends with the session that says so."""


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
    waiting = Waiting(place, work)
    server = make_server(Desk(place, work, waiting), news)
    async with background() as tasks:
        tasks.start_soon(_end_at_signal, tasks)
        tasks.start_soon(place.keep)
        tasks.start_soon(work.keep_away)
        tasks.start_soon(news.spread)
        if options.door is not None:
            leave = tasks.cancel_scope.cancel if options.one_session else None
            hooks = Hooks(work, waiting, leave=leave)
            every = options.heartbeat_interval
            tasks.start_soon(partial(hooks.hear, options.door, look_every=every))
        await serve(server)


async def _end_at_signal(tasks: TaskGroup) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            tasks.cancel_scope.cancel()
            return
