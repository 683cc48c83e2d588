"""What a round has used: processor time of the server and of the contender, and log written."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.cluster import Cluster, connected

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """Used up to some moment; seconds of processor time, bytes of write-ahead log."""

    cpu_s: float
    wal_bytes: float

    @classmethod
    async def so_far(cls, cluster: Cluster, pids: Iterable[int]) -> Self:
        """Read what the server and these processes have used."""
        server = cluster.server.pid
        assert server is not None, "the server has ended"
        async with connected(cluster.dsn("postgres")) as connection:
            wal = await connection.fetchval("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        return cls(_of_server(server) + sum(map(cpu_of, pids)), float(wal))

    def each(self, since: Self, count: int) -> dict[str, float]:
        """As figures, for each of so many handoffs."""
        return {
            "cpu_ms_each": 1000 * (self.cpu_s - since.cpu_s) / count,
            "wal_bytes_each": (self.wal_bytes - since.wal_bytes) / count,
        }


def cpu_of(pid: int) -> float:
    """Processor time of a process, all its threads, in seconds."""
    return sum(_times(pid)[:2])


def _of_server(postmaster: int) -> float:
    """The postmaster, its children, and those that have ended already."""
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return sum(_times(postmaster)) + sum(map(_of_child, map(int, children)))


def _of_child(pid: int) -> float:
    try:
        return cpu_of(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # it has ended meanwhile


def _times(pid: int) -> list[float]:
    """Its own time in user and system mode, and that of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(field) / _TICKS_PER_S for field in fields[11:15]]
