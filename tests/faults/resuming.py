"""How soon work goes on after a failover, as a client on the new primary sees it."""

import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from uuid import UUID

import anyio

from tests.faults.fault import Fault
from tests.faults.field import Field
from tests.support.node import LOST, Node
from tests.support.patroni import PatroniCluster
from tests.support.postgres import Connection, Database

_LOOK_EVERY_S = 0.01
_LOOKS_A_BEAT = 50
_AGENTS_BACK_WITHIN_S = 45.0

_WRITE = """
    with canary as (
      insert into agent_status (agent_name) values ('canary ' || gen_random_uuid())
      returning agent_name
    )
    insert into handoffs (from_agent, to_agent, task_description, deadline_at)
    select 'nobody', agent_name, 'sing', now() + interval '60 s' from canary
    returning id
"""
"""The first write: a new agent, idle, and work for it, of which no daemon has heard."""
_LOOK = "select dispatched_at, status from handoffs where id = $1"
_BEAT = """
    update agent_status set last_seen = now()
    where agent_name = (select to_agent from handoffs where id = $1)
"""
_COMPLETE = "update handoffs set status = 'completed' where id = $1"


@dataclass(frozen=True, slots=True)
class Resumed:
    """One failover, in seconds."""

    gap_s: float
    """From the blow to the first write that the new primary took."""
    dispatch_s: float
    """From that write to the dispatch of what it handed off."""
    agents_s: list[float]
    """From that write to the first heartbeat of each agent of the SDK, the slowest last."""

    def __str__(self) -> str:
        """Show it as a line of figures."""
        agents = self.agents_s
        heard = f"{median(agents):.2f}/{agents[-1]:.2f} s" if agents else "none"
        return (
            f"no writes for {self.gap_s:.2f} s, dispatch {self.dispatch_s:.2f} s later,"
            f" agents (median/last) {heard}"
        )


async def resumed(
    cluster: PatroniCluster, database: Database, blow: Callable[[], Awaitable[object]]
) -> Resumed:
    """Strike, and watch the node that is the standby now."""
    new = cluster.other(await cluster.healthy())
    async with database.connect() as connection:
        agents = await _agents_alive(connection)
    async with anyio.create_task_group() as both:
        watch = _Watch(new, database.name, agents, time.monotonic())
        both.start_soon(watch.keep)
        await blow()
    assert watch.resumed is not None
    return watch.resumed


@dataclass(slots=True)
class Timed:
    """A fault of failover, with a look at how long it takes until work goes on."""

    fault: Fault
    cluster: PatroniCluster
    times: list[Resumed] = field(default_factory=list)

    @property
    def name(self) -> str:
        """See `Fault`."""
        return self.fault.name

    @property
    def slowest_dispatch_s(self) -> float:
        """The longest of all its times until a dispatch."""
        return max(time.dispatch_s for time in self.times)

    @property
    def slowest_agent_s(self) -> float:
        """The longest of all its times until an agent was heard."""
        return max(time.agents_s[-1] for time in self.times)

    @property
    def holds_locks(self) -> bool:
        """See `Fault`."""
        return self.fault.holds_locks

    async def strike(self, field: Field) -> str:
        """See `Fault`."""
        proof = ""

        async def blow() -> None:
            nonlocal proof
            proof = await self.fault.strike(field)

        self.times.append(await resumed(self.cluster, field.database, blow))
        return f"{proof}: {self.times[-1]}"


@dataclass(slots=True)
class _Watch:
    node: Node
    database: str
    agents: set[str]
    began: float
    resumed: Resumed | None = None

    async def keep(self) -> None:
        """Watch until everything has been seen, over as many connections as that takes."""
        while self.resumed is None:
            try:
                async with self.node.connect(self.database) as connection:
                    self.resumed = await self._watch(connection)
            except LOST:
                await anyio.sleep(_LOOK_EVERY_S)

    async def _watch(self, connection: Connection) -> Resumed:
        while await connection.fetchval("select pg_is_in_recovery()"):  # noqa: ASYNC110
            await anyio.sleep(_LOOK_EVERY_S)
        handoff_id = await connection.fetchval(_WRITE)
        gap_s = time.monotonic() - self.began
        written: datetime = await connection.fetchval("select clock_timestamp()")
        dispatched: datetime = await _dispatched(connection, handoff_id)
        await connection.execute(_COMPLETE, handoff_id)
        dispatch_s = (dispatched - written).total_seconds()
        return Resumed(gap_s, dispatch_s, await self._agents_back(connection, written))

    async def _agents_back(self, connection: Connection, written: datetime) -> list[float]:
        back: dict[str, float] = {}
        with anyio.move_on_after(_AGENTS_BACK_WITHIN_S):
            while self.agents - set(back):
                for name, seen in await connection.fetch(
                    "select agent_name, last_seen from agent_status where last_seen > $1", written
                ):
                    if name in self.agents:
                        back.setdefault(name, (seen - written).total_seconds())
                await anyio.sleep(_LOOK_EVERY_S)
        return sorted(back.values())


async def _dispatched(connection: Connection, handoff_id: UUID) -> datetime:
    """Wait until a canary was given its work, and keep it fresh meanwhile."""
    at: datetime | None = None
    for look in itertools.count():
        if look % _LOOKS_A_BEAT == 0:
            await connection.execute(_BEAT, handoff_id)
        handoff = await connection.fetchrow(_LOOK, handoff_id)
        assert handoff is not None
        at = handoff["dispatched_at"]
        if at is not None:
            break
        assert handoff["status"] == "pending", "nobody dispatched it in time"
        await anyio.sleep(_LOOK_EVERY_S)
    assert at is not None
    return at


async def _agents_alive(connection: Connection) -> set[str]:
    rows = await connection.fetch(
        "select agent_name from agent_status where incarnation is not null and status <> 'blocked'"
    )
    return {row["agent_name"] for row in rows}
