"""How a client of the SDK begins while the database may be away."""

import random
from collections.abc import Awaitable, Callable

import anyio

from coordinator.agents import StoreUnavailable
from coordinator.core.errors import ConfigError

_LONGEST_PAUSE_S = 0.5


async def begin(client: Callable[[], Awaitable[None]]) -> None:
    """Run it, anew until its first connection is made; later ones the SDK waits for itself."""
    while True:
        try:
            return await client()
        except (StoreUnavailable, ConfigError):  # a login refused may be a restore under way
            await anyio.sleep(random.uniform(0, _LONGEST_PAUSE_S))
