"""For how long a fault lasts; how it takes the server down, and what brings it back."""

import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

import anyio

from coordinator.embedded import PrivateServer
from tests.faults.fault import NotStruck
from tests.faults.field import Field
from tests.support.waiting import eventually

SHORTEST = timedelta(seconds=0.2)


def drawn(field: Field, longest: timedelta, shortest: timedelta = SHORTEST) -> float:
    """For how many seconds a fault lasts this time."""
    return field.chance.uniform(shortest.total_seconds(), longest.total_seconds())


async def outage(field: Field, seconds: float, take_down: Callable[[int], Awaitable[None]]) -> str:
    """Take the postmaster down, leave it down for a while, start another; prove it by the pids.

    `take_down` is given its pid, and returns when it need not be there any more.
    """
    server = field.server
    before = server.pid
    if before is None:
        raise NotStruck("no server was running")
    try:
        await take_down(before)
        await eventually(lambda: _has_ended(server))
        down = time.monotonic()
        await anyio.sleep(seconds)  # the outage itself
    finally:
        with anyio.CancelScope(shield=True):
            await server.stop()  # nothing but clearing up where it has ended
            await server.launch()
    if server.pid == before:
        raise NotStruck(f"postmaster {before} is still the same")
    return f"postmaster {before} gone for {time.monotonic() - down:.2f} s, then {server.pid}"


async def _has_ended(server: PrivateServer) -> bool:
    return server.pid is None
