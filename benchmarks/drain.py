"""How fast a queue of work that does nothing is worked off."""

import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import anyio

from benchmarks import floor
from benchmarks.child import child, finished, program
from benchmarks.cluster import Cluster, connected
from benchmarks.contest import Comparison, Fact, Figures
from benchmarks.cost import Cost
from benchmarks.peer import GRAPHILE, PG_BOSS, PGQUEUER, PROCRASTINATE, Contending
from benchmarks.readback import LIFE, OPEN, completed, when_none
from benchmarks.stage import running_daemon

_RATE = "handoffs_per_s"
_ENDS_WITHIN_S = 600.0


@dataclass
class ClaimFloor:
    """Claim and complete, and nothing else."""

    cluster: Cluster
    count: int
    agents: int
    name: str = "floor: claim, complete"
    includes: str = (
        "One connection claims 1,000 handoffs in a statement and completes them in a second, each"
        " a durable commit; only `handoffs` is written. No agents, no fencing, no events, no"
        " notifications. From the first claim sent to the last answer."
    )
    dsn: str = ""

    @property
    def setting(self) -> str:
        """Say how it was set."""
        return f"our tables, triggers disabled, batches of {self.agents}"

    async def prepare(self) -> None:
        """Make its database."""
        self.dsn = await floor.create(self.cluster, "floor_claim")

    async def round(self) -> Figures:
        """Claim and complete until nothing is left."""
        await self._fill()
        await self.cluster.settle()
        async with connected(self.dsn) as connection:
            claim = await connection.prepare(floor.statement("claim"))
            complete = await connection.prepare(floor.statement("complete"))
            everybody = floor.names(self.agents)
            before, began = await self._cost(), time.monotonic()
            while claimed := [row["id"] for row in await claim.fetch(everybody)]:
                await complete.fetch(claimed)
            took = time.monotonic() - began
            return {_RATE: self.count / took, **(await self._cost()).each(before, self.count)}

    async def check(self) -> Sequence[Fact]:
        """All are completed."""
        return await completed(self.dsn, self.count, events=0)

    async def _cost(self) -> Cost:
        return await Cost.so_far(self.cluster, [os.getpid()])

    async def _fill(self) -> None:
        async with connected(self.dsn) as connection:
            await floor.empty(connection, self.agents)
            turns = self.count // self.agents
            await connection.execute(floor.statement("fill"), floor.names(self.agents), turns)
            await floor.analyze(connection)


@dataclass
class LifeFloor(ClaimFloor):
    """The same writes as ours on all three tables."""

    name: str = "floor: whole life"
    includes: str = (
        "One connection writes what the life of a handoff writes with us, 1,000 in a statement:"
        " dispatch (both rows), accept, complete (both rows), an event each; each statement a"
        " durable commit. No processes to talk to, no fencing, no notifications."
    )

    async def prepare(self) -> None:
        """Make its database."""
        self.dsn = await floor.create(self.cluster, "floor_life")

    async def round(self) -> Figures:
        """Dispatch, accept and complete until nothing is left."""
        await self._fill()
        await self.cluster.settle()
        async with connected(self.dsn) as connection:
            dispatch = await connection.prepare(floor.statement("live_dispatch"))
            accept = await connection.prepare(floor.statement("live_accept"))
            complete = await connection.prepare(floor.statement("live_complete"))
            everybody = floor.names(self.agents)
            before, began = await self._cost(), time.monotonic()
            while given := [row["id"] for row in await dispatch.fetch(everybody)]:
                await accept.fetch(given)
                await complete.fetch(given, everybody)
            took = time.monotonic() - began
            return {_RATE: self.count / took, **(await self._cost()).each(before, self.count)}

    async def check(self) -> Sequence[Fact]:
        """All are completed, with an event for each step."""
        async with connected(self.dsn) as connection:
            await connection.execute(floor.statement("live_queued"))
        return await completed(self.dsn, self.count, events=len(LIFE))


@dataclass
class Ours:
    """The daemon, and SDK agents in other processes."""

    cluster: Cluster
    count: int
    agents: int
    hosts: int
    includes: str = (
        "`coordinator run` dispatches, SDK agents accept, run a handler that does nothing, and"
        " complete: fenced by attempt and incarnation, four events a handoff, senders told, log"
        " written. On tables as a truncate leaves them, without"
        " statistics. From the commit of the insert to the last completion."
    )
    dsn: str = ""

    @property
    def name(self) -> str:
        """Say who it is."""
        return "coordinator"

    @property
    def setting(self) -> str:
        """Say how it was set."""
        return f"defaults; {self.agents} agents on {self.hosts} AgentHosts, a process each, uvloop"

    async def prepare(self) -> None:
        """Make its database."""
        self.dsn = await self.cluster.create_ours("ours_drain")

    async def round(self) -> Figures:
        """Start everybody, hand off all of it at once, and wait for the end."""
        async with connected(self.dsn) as connection, AsyncExitStack() as stack:
            await floor.empty(connection, 0)
            await self.cluster.settle()
            daemon = await stack.enter_async_context(
                running_daemon(self.dsn, self.cluster.directory)
            )
            each, share = self.agents // self.hosts, self.count // self.hosts
            hosts = [
                await stack.enter_async_context(
                    child(program("agents", self.dsn, number * each, each, share))
                )
                for number in range(self.hosts)
            ]
            for host in hosts:
                await host.hear("ready")
            pids = [daemon.pid, *(host.process.pid for host in hosts)]
            turns = self.count // self.agents
            await connection.execute(floor.statement("fill"), floor.names(self.agents), turns)
            began = time.monotonic()
            before = await Cost.so_far(self.cluster, pids)
            with anyio.fail_after(_ENDS_WITHIN_S):
                for host in hosts:
                    await host.hear("first")
                ended = await when_none(self.dsn, OPEN)
            used = await Cost.so_far(self.cluster, pids)
            return {_RATE: self.count / (ended - began), **used.each(before, self.count)}

    async def check(self) -> Sequence[Fact]:
        """All are completed at their first attempt, with an event for each step."""
        return await completed(self.dsn, self.count, events=len(LIFE))


@dataclass
class Theirs(Contending):
    """A peer in one of its settings."""

    includes: str = (
        "One worker process, jobs that do nothing, put in beforehand. From the first handler"
        " entered, so without start and first fetch, until its tables show nothing unfinished."
    )
    purpose = "drain"

    async def round(self) -> Figures:
        """Put the jobs in, start a worker, and wait for the end."""
        at = self.at
        await at.empty()
        await finished(at.command("enqueue", str(self.count)), at.environment)
        async with connected(at.dsn) as connection:
            await connection.execute("vacuum analyze")
        await self.cluster.settle()
        before = await Cost.so_far(self.cluster, [])
        async with child(at.command("work", str(self.count), self.mode), at.environment) as worker:
            with anyio.fail_after(_ENDS_WITHIN_S):
                told = await worker.hear("first")
                ended = await when_none(at.dsn, self.peer.unfinished)
            used = await Cost.so_far(self.cluster, [worker.process.pid])
        # Its start is not measured, so that what it used before its first job does not count.
        before = replace(before, cpu_s=before.cpu_s + told["cpu"])
        rate = self.count / (ended - told["first"])
        return {_RATE: rate, **used.each(before, self.count)}


def comparison(cluster: Cluster, *, count: int, agents: int) -> Comparison:
    """Everybody who is installed; a slow peer drains a tenth, since what is compared is a rate.

    `count` is a multiple of `agents`, and `agents` one of four: everybody gets the same share.
    """
    few = count // 10
    claims = ClaimFloor(cluster, count, agents)
    theirs = [
        Theirs(cluster, GRAPHILE, count, "fastest", _GRAPHILE_FASTEST),
        Theirs(cluster, GRAPHILE, few, "default", f"concurrentJobs 1, no local queue; {few} jobs"),
        Theirs(cluster, PG_BOSS, count, "fastest", _PG_BOSS_FASTEST),
        Theirs(cluster, PGQUEUER, count, "fastest", "batch_size 1000, asyncpg pool, uvloop"),
        Theirs(cluster, PGQUEUER, count, "default", "batch_size 10, asyncpg pool, uvloop"),
        Theirs(cluster, PROCRASTINATE, few, "fastest", f"concurrency 20, pool 24; {few} jobs"),
        Theirs(cluster, PROCRASTINATE, few, "default", f"concurrency 1, pool 5; {few} jobs"),
    ]
    return Comparison(
        name="drain",
        question=(
            f"How fast are {count:,} handoffs over {agents:,} agents claimed and completed, and"
            " what does each use: processor time of server and contender, and write-ahead log?"
        ),
        floor=claims.name,
        contenders=[
            claims,
            LifeFloor(cluster, count, agents),
            # A connection keeps one core of the server busy: of 1, 2, 4 and 8 hosts, four used both
            # steadily. Eight gained little in one round, and lost in another.
            Ours(cluster, count, agents, hosts=4),
            *(each for each in theirs if each.peer.installed),
        ],
    )


_GRAPHILE_FASTEST = (
    "concurrentJobs 24, maxPoolSize 25, localQueue 500, completeJobBatchDelay 0, as its page on"
    " performance has it"
)
_PG_BOSS_FASTEST = (
    "batchSize 1000, burstWhenBatchFull, LISTEN/NOTIFY on; its default, one job every two seconds,"
    " was not run"
)
