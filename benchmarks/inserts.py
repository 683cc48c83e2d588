"""How many handoffs can be put in, one a transaction by many clients, and in bulk by one."""

import re
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio

from benchmarks import floor
from benchmarks.cluster import Cluster, connected
from benchmarks.contest import Comparison, Fact, Figures
from benchmarks.stage import running_daemon

_CLIENTS = 32
_BULK, _BULKS = 1_000, 10
_PROCESSED = re.compile(r"actually processed: (\d+)")
_RATE = re.compile(r"tps = ([\d.]+) \(without initial connection time\)")


@dataclass
class Bare:
    """Our table without its triggers."""

    cluster: Cluster
    seconds: int
    name: str = "floor: bare table"
    setting: str = "our table, triggers disabled"
    includes: str = "The insert and its durable commit; no event, no lineage, no notification."
    database: str = "insert_bare"
    insert: str = "insert_bare"
    events: int = 0
    dsn: str = ""
    ran: int = 0

    async def prepare(self) -> None:
        """Make its database."""
        self.dsn = await floor.create(self.cluster, self.database)

    async def round(self) -> Figures:
        """Insert one by one for some seconds, then in bulk."""
        async with connected(self.dsn) as connection:
            await floor.empty(connection, 0)
        await self.cluster.settle()
        one_by_one = await self._by_many()
        return {"one_row_per_s": one_by_one, "bulk_rows_per_s": await self._in_bulk()}

    async def check(self) -> Sequence[Fact]:
        """There is a row for each, and its event."""
        expected = self.ran + _BULK * _BULKS
        async with connected(self.dsn) as connection:
            rows = await connection.fetchval(
                "select count(*) from handoffs where status = 'pending'"
            )
            told = await connection.fetchval("select count(*) from coordination_events")
            queued = await connection.fetchval(
                "select count(distinct handoff_id) from coordination_events"
                " where event = 'handoff.queued'"
            )
        return [
            Fact("rows", expected, rows),
            Fact("handoffs with an event", expected * self.events, queued),
            # A truncate leaves an event of its own, if anybody tells.
            Fact("events", expected * self.events + self.events, told),
        ]

    async def _by_many(self) -> float:
        script = Path(floor.__file__).parent / "sql" / f"{self.insert}.sql"
        done = await anyio.run_process(
            [
                str(self.cluster.server.binaries.bin_dir / "pgbench"),
                *("--no-vacuum", "--protocol=prepared", f"--time={self.seconds}"),
                *(f"--client={_CLIENTS}", "--jobs=2", f"--file={script}", self.dsn),
            ]
        )
        said = done.stdout.decode()
        processed, rate = _PROCESSED.search(said), _RATE.search(said)
        if processed is None or rate is None:
            raise RuntimeError(f"pgbench tells no rate: {said}")
        self.ran = int(processed[1])
        return float(rate[1])

    async def _in_bulk(self) -> float:
        async with connected(self.dsn) as connection:
            fill = await connection.prepare(floor.statement("fill"))
            began = time.monotonic()
            for _ in range(_BULKS):
                await fill.fetch(["nobody"], _BULK)
            return _BULKS * _BULK / (time.monotonic() - began)


@dataclass
class Ringing(Bare):
    """The same with a notification for each statement."""

    name: str = "floor: with NOTIFY"
    setting: str = "our table, its triggers disabled, one trigger that notifies"
    includes: str = "The same, and one notification for each statement, which nobody hears."
    database: str = "insert_ringing"

    async def prepare(self) -> None:
        """Make its database."""
        await super().prepare()
        async with connected(self.dsn) as connection:
            await connection.execute(floor.statement("ring"))


@dataclass
class Ours(Bare):
    """All our triggers, and a daemon that hears them."""

    name: str = "coordinator"
    setting: str = "defaults, daemon running; the handoffs are for an agent that is not there"
    includes: str = (
        "The insert with its triggers (lineage, limits, an event, a notification), its durable"
        " commit, and the daemon beside it, which looks at once whether somebody can be given it."
    )
    database: str = "insert_ours"
    insert: str = "insert"
    events: int = 1

    async def prepare(self) -> None:
        """Make its database."""
        self.dsn = await self.cluster.create_ours(self.database)

    async def round(self) -> Figures:
        """Insert beside a daemon."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(running_daemon(self.dsn, self.cluster.directory))
            return await super().round()


def comparison(cluster: Cluster, *, seconds: int) -> Comparison:
    """Ours between the bare table and the price of a notification."""
    bare = Bare(cluster, seconds)
    return Comparison(
        name="inserts",
        question=(
            f"How many handoffs a second, one a transaction by {_CLIENTS} clients (pgbench,"
            f" {seconds} s), and {_BULK:,} a statement by one?"
        ),
        floor=bare.name,
        contenders=[bare, Ringing(cluster, seconds), Ours(cluster, seconds)],
    )
