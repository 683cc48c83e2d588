"""What the tests of the SDK need of the other side: handoffs by plain SQL, and dispatch passes."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg

from coordinator.store.connection import Connection
from coordinator.store.dsn import connect_target
from tests.support.postgres import Database
from tests.support.waiting import eventually

FAST = timedelta(milliseconds=100)
"""A heartbeat interval for tests that wait for a heartbeat."""
RARE = timedelta(minutes=10)
"""A heartbeat interval for tests in which no heartbeat may help."""


@dataclass(frozen=True, slots=True)
class Desk:
    """The operator's desk: puts handoffs in, dispatches them, and looks at the rows."""

    sql: "asyncpg.Connection[asyncpg.Record]"
    _store: Connection

    async def put(self, to_agent: str = "ada", task: str = "do it", **columns: Any) -> UUID:
        """Insert a handoff from `boss` with further columns; return its id."""
        row = {"from_agent": "boss", "to_agent": to_agent, "task_description": task} | columns
        marks = ", ".join(f"${n}" for n in range(1, len(row) + 1))
        handoff_id: UUID = await self.sql.fetchval(
            f"insert into handoffs ({', '.join(row)}) values ({marks}) returning id", *row.values()
        )
        return handoff_id

    async def dispatch(self, *addresses: str, count: int = 1) -> None:
        """Run dispatch passes until `count` handoffs have been given to idle agents."""
        given = 0

        async def one_pass() -> bool:
            nonlocal given
            [row] = await self._store.run(
                "dispatch",
                addresses=list(addresses or ["ada"]),
                agents=[],
                term=0,
                batch=5000,
                stale_after=timedelta(seconds=45),
            )
            given += int(row["dispatched"])
            return given >= count

        await eventually(one_pass)

    async def give(self, to_agent: str = "ada", task: str = "do it", **columns: Any) -> UUID:
        """Insert a handoff and dispatch it."""
        handoff_id = await self.put(to_agent, task, **columns)
        await self.dispatch(to_agent)
        return handoff_id

    async def row(self, handoff_id: UUID) -> asyncpg.Record:
        """The handoff's row as it is now."""
        row = await self.sql.fetchrow("select * from handoffs where id = $1", handoff_id)
        assert row is not None
        return row

    async def reaches(
        self, handoff_id: UUID, *, within: timedelta = timedelta(seconds=10), **columns: object
    ) -> asyncpg.Record:
        """Wait until the handoff's row has these values; return it."""

        async def probe() -> asyncpg.Record | None:
            row = await self.row(handoff_id)
            return row if all(row[name] == value for name, value in columns.items()) else None

        row = await eventually(probe, within=within)
        assert row is not None
        return row

    async def agent(self, name: str = "ada") -> asyncpg.Record:
        """The agent's row as it is now."""
        row = await self.sql.fetchrow("select * from agent_status where agent_name = $1", name)
        assert row is not None
        return row

    async def take_back(self, handoff_id: UUID, reason: str = "lapsed") -> None:
        """Take an attempt back, as the sweep does."""
        await self.sql.execute(
            "select coordination.take_back(array[$1::uuid], $2)", handoff_id, reason
        )

    @asynccontextmanager
    async def pushes_lost(self) -> AsyncIterator[None]:
        """What happens in the block is pushed to nobody."""
        body = "create or replace function agent_channel(agent_name text) returns text language sql"
        kept = await self.sql.fetchval("select pg_get_functiondef('agent_channel'::regproc)")
        await self.sql.execute(f"{body} immutable as $$select 'nobody'$$")
        try:
            yield
        finally:
            await self.sql.execute(kept)

    async def login(self) -> str:
        """Make a role that may do what an agent may; return its name."""
        name = f"agent_of_{await self.sql.fetchval('select current_database()')}"
        await self.sql.execute(f"create role {name} login in role coordinator_agent")
        return name

    @asynccontextmanager
    async def outage(self, login: str) -> AsyncIterator[None]:
        """End this role's connections, and let it open no others in the block."""
        await self.sql.execute(f"alter role {login} nologin")
        await self.sql.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", login
        )
        try:
            yield
        finally:
            await self.sql.execute(f"alter role {login} login")

    async def no_pause_before_retries(self) -> None:
        """Make a failed handoff due again at once."""
        await self.sql.execute("update coordination_settings set retry_delay = '0'")

    async def backends(self, application_name: str) -> list[int]:
        """The server processes behind an application's connections."""
        rows = await self.sql.fetch(
            "select pid from pg_stat_activity where datname = current_database()"
            " and application_name = $1",
            application_name,
        )
        return [row["pid"] for row in rows]

    async def terminate(self, application_name: str) -> int:
        """End an application's connections; return how many."""
        pids = await self.backends(application_name)
        await self.sql.execute(
            "select pg_terminate_backend(pid) from unnest($1::int[]) as pid", pids
        )
        return len(pids)


@asynccontextmanager
async def desk_at(database: Database) -> AsyncIterator[Desk]:
    """A desk with connections of its own."""
    store = await Connection.open(connect_target(database.dsn), application_name="desk")
    try:
        async with database.connect() as sql:
            await sql.set_type_codec(
                "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
            )
            yield Desk(sql, store)
    finally:
        await store.close()
