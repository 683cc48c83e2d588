"""The raw floor: our tables with their triggers disabled, and hand-written SQL over asyncpg."""

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.agents import name_of
from benchmarks.cluster import Cluster, connected

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_SQL = Path(__file__).with_name("sql")


def statement(name: str) -> str:
    """Read a committed statement."""
    return (_SQL / f"{name}.sql").read_text()


def names(agents: int) -> list[str]:
    """Name so many agents."""
    return [name_of(number) for number in range(agents)]


async def create(cluster: Cluster, database: str) -> str:
    """Make a database with our tables whose triggers do nothing; return how to connect to it."""
    dsn = await cluster.create_ours(database)
    async with connected(dsn) as connection:
        await connection.execute(
            "alter table handoffs disable trigger user;"
            " alter table agent_status disable trigger user"
        )
    return dsn


async def empty(connection: "Connection", agents: int) -> None:
    """Forget earlier rounds, and have so many idle agents; triggers or not."""
    await connection.execute("truncate handoffs, coordination_events restart identity")
    await connection.execute("delete from agent_status")
    await connection.execute(
        "insert into agent_status (agent_name, incarnation)"
        " select unnest($1::text[]), gen_random_uuid()",
        names(agents),
    )


async def analyze(connection: "Connection") -> None:
    """Have the planner know what there is, as autovacuum would have it soon."""
    await connection.execute("vacuum analyze handoffs, agent_status, coordination_events")
