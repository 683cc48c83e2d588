"""Whose sessions a fault may meet."""

from dataclasses import dataclass

from tests.integration.schema.world import World


@dataclass(frozen=True, slots=True)
class Session:
    """One server process that serves a client."""

    pid: int
    application: str

    def __str__(self) -> str:
        return f"{self.pid} ({self.application or 'nameless'})"


async def sessions_of(world: World) -> list[Session]:
    """All sessions of clients in this database but our own, in the order of their pids."""
    rows = await world.rows(
        "select pid, application_name from pg_stat_activity"
        " where datname = current_database() and backend_type = 'client backend'"
        " and pid <> pg_backend_pid() order by pid"
    )
    return [Session(*row) for row in rows]


async def end_all(world: World) -> int:
    """End all these sessions with one statement; return how many there were."""
    return int(
        await world.value(
            "select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity"
            " where datname = current_database() and backend_type = 'client backend'"
            " and pid <> pg_backend_pid()"
        )
    )
