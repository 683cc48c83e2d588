"""Many agents in one process, on one connection."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

from coordinator.agents.agent import Agent, OnError, print_error
from coordinator.agents.station import HEARTBEAT_INTERVAL, Station
from coordinator.core.hidden import Hidden
from coordinator.core.model import Json


class AgentHost:
    """A connection that thousands of agents can share; they have one incarnation.

    One statement carries all their heartbeats. Prefer it to a connection for each agent: every
    listening connection slows every notification down.
    """

    def __init__(self, station: Station) -> None:
        self._station = station

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        dsn: str,
        *,
        heartbeat_interval: timedelta = HEARTBEAT_INTERVAL,
        application_name: str = "agent host",
    ) -> AsyncIterator["AgentHost"]:
        """Connect; raise StoreUnavailable or ConfigError when the first connection fails."""
        dsn = Hidden(dsn)
        async with Station.open(
            dsn, heartbeat_interval=heartbeat_interval, application_name=application_name
        ) as station:
            yield cls(station)

    @property
    def incarnation(self) -> UUID:
        """This life of the process."""
        return self._station.incarnation

    @asynccontextmanager
    async def agent(
        self,
        name: str,
        *,
        roles: Sequence[str] = (),
        metadata: Json | None = None,
        on_error: OnError = print_error,
    ) -> AsyncIterator[Agent]:
        """Register an agent; at the end of the block it leaves, and its work is given back."""
        async with self._station.post(name, roles=roles, metadata=metadata) as post:
            yield Agent(post, on_error=on_error)
