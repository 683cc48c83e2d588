"""How soon work reaches the one who does it, where nothing else is going on."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import anyio

from benchmarks import floor
from benchmarks.child import Child, child, finished, program
from benchmarks.cluster import Cluster, connected
from benchmarks.contest import Comparison, Fact, Figures
from benchmarks.figures import percentile
from benchmarks.peer import GRAPHILE, PG_BOSS, PGQUEUER, PROCRASTINATE, Contending
from benchmarks.readback import LIFE, OPEN, completed, when_none
from benchmarks.stage import running_daemon

_EVERY_S = 0.05
"""Twenty a second: each finds everybody idle."""
_ENDS_WITHIN_S = 60.0


@dataclass
class TwoHops:
    """Insert, a process that hears of it and writes, an agent that hears of that."""

    cluster: Cluster
    count: int
    name: str = "floor: two hops"
    setting: str = "our tables, triggers disabled; asyncpg and uvloop, three processes"
    includes: str = (
        "From before the insert is sent until the agent hears of it. A durable insert that"
        " notifies, one statement that writes both rows and notifies; the agent asks nothing."
    )
    dsn: str = ""

    async def prepare(self) -> None:
        """Make its database."""
        self.dsn = await floor.create(self.cluster, "floor_hops")

    async def round(self) -> Figures:
        """Send one by one."""
        async with connected(self.dsn) as connection:
            await floor.empty(connection, 1)
        async with (
            child(program("hops", self.dsn, "relay")) as relay,
            child(program("hops", self.dsn, "agent", self.count)) as agent,
        ):
            await relay.hear("ready")
            await agent.hear("ready")
            await finished(program("hops", self.dsn, "send-and-ring", self.count, _EVERY_S))
            return await _told_by(agent)

    async def check(self) -> Sequence[Fact]:
        """All were given."""
        async with connected(self.dsn) as connection:
            given = await connection.fetchval(
                "select count(*) from handoffs where status = 'in_progress' and attempt = 1"
            )
        return [Fact("handoffs given", self.count, given)]


@dataclass
class Ours:
    """The daemon, and one SDK agent in another process."""

    cluster: Cluster
    count: int
    name: str = "coordinator"
    setting: str = "defaults; one agent on an AgentHost, uvloop"
    includes: str = (
        "From before a plain insert is sent until the agent's handler is entered: insert with its"
        " triggers, dispatch by the daemon, push, the agent's look at what it holds, and accept."
    )
    dsn: str = ""

    async def prepare(self) -> None:
        """Make its database."""
        self.dsn = await self.cluster.create_ours("ours_arrival")

    async def round(self) -> Figures:
        """Send one by one."""
        async with connected(self.dsn) as connection, AsyncExitStack() as stack:
            await floor.empty(connection, 0)
            await stack.enter_async_context(running_daemon(self.dsn, self.cluster.directory))
            agents = program("agents", self.dsn, 0, 1, self.count)
            agent = await stack.enter_async_context(child(agents))
            await agent.hear("ready")
            await finished(program("hops", self.dsn, "send", self.count, _EVERY_S))
            figures = await _told_by(agent)
            with anyio.fail_after(_ENDS_WITHIN_S):
                await when_none(self.dsn, OPEN)
            return figures

    async def check(self) -> Sequence[Fact]:
        """All are completed at their first attempt, with an event for each step."""
        return await completed(self.dsn, self.count, events=len(LIFE))


@dataclass
class Theirs(Contending):
    """A peer with NOTIFY on."""

    includes: str = (
        "From before its own call that adds a job until the handler is entered in its worker: one"
        " hop, since the worker fetches for itself."
    )
    purpose = "arrival"

    @property
    def name(self) -> str:
        """Say who it is."""
        return self.peer.name

    async def round(self) -> Figures:
        """Send one by one."""
        at = self.at
        await at.empty()
        async with child(at.command("work", str(self.count), self.mode), at.environment) as worker:
            await worker.hear("ready")
            await finished(at.command("send", str(self.count), str(_EVERY_S)), at.environment)
            figures = await _told_by(worker)
            with anyio.fail_after(_ENDS_WITHIN_S):
                await when_none(at.dsn, self.peer.unfinished)
            return figures


def comparison(cluster: Cluster, *, count: int) -> Comparison:
    """Everybody who is installed."""
    hops = TwoHops(cluster, count)
    theirs = [
        Theirs(cluster, GRAPHILE, count, "default", "defaults"),
        Theirs(
            cluster, PG_BOSS, count, "prompt", "LISTEN/NOTIFY on (off by default), batchSize 10"
        ),
        Theirs(cluster, PGQUEUER, count, "default", "defaults, asyncpg pool, uvloop"),
        Theirs(cluster, PROCRASTINATE, count, "default", "defaults"),
    ]
    return Comparison(
        name="arrival",
        question=f"How soon does work reach its handler, {count} times one by one, 20 a second?",
        floor=hops.name,
        contenders=[hops, Ours(cluster, count), *(t for t in theirs if t.peer.installed)],
    )


async def _told_by(worker: Child) -> Figures:
    with anyio.fail_after(_ENDS_WITHIN_S):
        ms = (await worker.hear("ms"))["ms"]
    return {"p50_ms": percentile(ms, 0.5), "p99_ms": percentile(ms, 0.99)}
