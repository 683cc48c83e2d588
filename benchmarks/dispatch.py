"""How many handoffs a dispatch gives in a second, to few agents and to many, over a backlog."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from benchmarks import floor
from benchmarks.cluster import Cluster, connected
from benchmarks.contest import Comparison, Fact, Figures
from coordinator.store import passes
from coordinator.store.connection import Connection
from coordinator.store.dsn import connect_target

_AGENTS = 1_000
_EACH = 10
_SIZES = {1: 200, 100: 20, 1_000: 5}
"""How many agents a statement serves, and how many statements are timed."""
_DISPATCHED = sum(size * times for size, times in _SIZES.items())
_HOUR = timedelta(hours=1)
_LIMITS = passes.Limits(_HOUR, _HOUR, _HOUR, _HOUR, batch=_AGENTS)
_PUT_BACK = """
update handoffs
set status = 'pending', attempt = 0, assigned_agent = null, held_by = null, dispatched_at = null
where status = 'in_progress';
update agent_status
set status = 'idle', current_handoff = null
where current_handoff is not null;
"""

Give = Callable[[list[str]], Awaitable[int]]
"""Gives each of these agents its next handoff; returns how many were given."""


@dataclass
class Raw:
    """Hand-written: both rows and the event."""

    cluster: Cluster
    backlog: int
    name: str = "floor: two tables and the event"
    setting: str = "our tables, triggers disabled, one prepared statement"
    includes: str = (
        "One statement and its durable commit: lock idle agents, find each one's next handoff,"
        " write both rows and an event. No notification, no ranking among roles."
    )
    database: str = "dispatch_raw"
    dsn: str = ""

    async def prepare(self) -> None:
        """Make the agents, their handoffs and the backlog, once."""
        self.dsn = await self._make()
        async with connected(self.dsn) as connection:
            await connection.execute("set session_replication_role = replica")
            await floor.empty(connection, _AGENTS)
            await connection.execute(floor.statement("fill"), floor.names(_AGENTS), _EACH)
            await connection.execute(floor.statement("backlog"), self.backlog)

    async def round(self) -> Figures:
        """Time each size on a fresh connection, and put everything back between statements."""
        async with connected(self.dsn) as aside:
            await aside.execute("set session_replication_role = replica")
            await aside.execute("truncate coordination_events")
            await aside.execute(_PUT_BACK)
            await aside.execute("update agent_status set last_seen = now()")
            await floor.analyze(aside)
            await self.cluster.settle()
            figures = {}
            async with self._giving() as give:
                await give([])
                for size, times in _SIZES.items():
                    took = 0.0
                    for _ in range(times):
                        await aside.execute(_PUT_BACK)
                        began = time.monotonic()
                        await give(floor.names(size))
                        took += time.monotonic() - began
                    figures[f"rows_per_s_{size}"] = size * times / took
        return figures

    async def check(self) -> Sequence[Fact]:
        """Each statement has told of what it gave, and the last one's rows are still there."""
        async with connected(self.dsn) as connection:
            told = await connection.fetchval(
                "select count(*) from coordination_events where event = 'handoff.dispatched'"
            )
            held = await connection.fetchval(
                "select count(*) from handoffs h join agent_status a on a.current_handoff = h.id"
                " where h.status = 'in_progress' and a.status = 'working'"
                " and h.assigned_agent = a.agent_name"
            )
            waiting = await connection.fetchval(
                "select count(*) from handoffs where status = 'pending'"
            )
        return [
            Fact("handoffs dispatched, by events", _DISPATCHED, told),
            Fact("handoffs held by the last statement", _AGENTS, held),
            Fact("handoffs waiting", self.backlog + _AGENTS * (_EACH - 1), waiting),
        ]

    async def _make(self) -> str:
        return await floor.create(self.cluster, self._database)

    @property
    def _database(self) -> str:
        return f"{self.database}_{self.backlog}"

    @asynccontextmanager
    async def _giving(self) -> AsyncIterator[Give]:
        async with connected(self.dsn) as connection:
            statement = await connection.prepare(floor.statement("live_dispatch"))

            async def give(agents: list[str]) -> int:
                return len(await statement.fetch(agents))

            yield give


@dataclass
class Ours(Raw):
    """The daemon's own statement, and the triggers that it sets off."""

    name: str = "coordinator"
    setting: str = "the daemon's statement over its own kind of connection, addresses named"
    includes: str = (
        "The same commit, with everything that follows from a dispatch: legality, the event with"
        " its details, the agent's row, the notification to each agent, ranking among roles."
    )
    database: str = "dispatch_ours"

    async def _make(self) -> str:
        return await self.cluster.create_ours(self._database)

    @asynccontextmanager
    async def _giving(self) -> AsyncIterator[Give]:
        connection = await Connection.open(connect_target(self.dsn), application_name="bench")

        async def give(agents: list[str]) -> int:
            done = await passes.dispatch(
                connection, addresses=agents, agents=[], term=0, limits=_LIMITS
            )
            return done.count

        try:
            yield give
        finally:
            await connection.close()


def comparison(cluster: Cluster, *, backlog: int) -> Comparison:
    """Ours beside the same writes by hand; with a backlog or without."""
    raw = Raw(cluster, backlog)
    return Comparison(
        name="dispatch-over-backlog" if backlog else "dispatch",
        question=(
            "How many handoffs a second does one dispatch statement give to 1, 100 and 1,000 idle"
            f" agents, with {backlog:,} others pending?"
        ),
        floor=raw.name,
        contenders=[raw, Ours(cluster, backlog)],
    )
