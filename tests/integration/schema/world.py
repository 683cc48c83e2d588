"""A database and what the schema's tests do in it: make agents and handoffs, age rows, look.

Rows are aged, never the clock: `last_seen_ago` and its like move a row into the past.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.integration.schema.mutation import statement
from tests.support.postgres import Connection, Database
from tests.support.waiting import eventually

STALE_AFTER = timedelta(seconds=45)
TAKE_BACK_AFTER = timedelta(seconds=120)
ACCEPT_TIMEOUT = timedelta(seconds=30)
CANCEL_GRACE = timedelta(seconds=30)

LOCKS_ARE_SHORT = {"lock_timeout": "5s"}
"""Who waits longer for a lock waits for a test that has failed."""

Row = asyncpg.Record


@dataclass(frozen=True, slots=True)
class Life:
    """An agent as it calls the functions: its name, and its incarnation if it has one."""

    name: str
    incarnation: UUID | None


class World:
    """One connection, with short words for what the tests do over and over."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @classmethod
    @asynccontextmanager
    async def on(
        cls, database: Database, *, user: str | None = None, **settings: str
    ) -> AsyncIterator["World"]:
        """A connection of its own to a database; the superuser's, unless another login is named."""
        async with database.connect(user=user, settings=LOCKS_ARE_SHORT | settings) as connection:
            for kind in ("json", "jsonb"):
                await connection.set_type_codec(
                    kind, schema="pg_catalog", encoder=json.dumps, decoder=json.loads
                )
            yield cls(connection)

    # --- plain SQL ----------------------------------------------------------------------------

    async def execute(self, sql: str, *values: object) -> str:
        """Run a statement and return its command tag."""
        return await self.connection.execute(sql, *values)

    async def rows(self, sql: str, *values: object) -> list[Row]:
        """Return the rows of a statement."""
        return await self.connection.fetch(sql, *values)

    async def value(self, sql: str, *values: object) -> Any:
        """Return the first column of the first row."""
        return await self.connection.fetchval(sql, *values)

    async def run(self, name: str, **parameters: object) -> list[Row]:
        """Run one of the store's statements, `sql/<name>.sql`."""
        query = statement(name)
        return await self.connection.fetch(query.text, *query.arguments(parameters))

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what happens inside."""
        transaction = self.connection.transaction()
        await transaction.start()
        try:
            yield
        finally:
            await transaction.rollback()

    @asynccontextmanager
    async def role(self, name: str) -> AsyncIterator[None]:
        """Act with a role's rights alone; an error's rollback gives the old ones back."""
        await self.execute(f"set role {name}")
        yield
        await self.execute("reset role")

    @asynccontextmanager
    async def refused(self, code: str, role: str | None = None) -> AsyncIterator[None]:
        """Expect a refusal with this SQLSTATE inside; what was half done is undone."""
        transaction = self.connection.transaction()
        await transaction.start()
        if role:
            await self.execute(f"set local role {role}")
        try:
            with refused(code):
                yield
        finally:
            await transaction.rollback()

    async def answered(self, deed: Callable[[], Awaitable[str]]) -> str:
        """Return a deed's answer, or the SQLSTATE of its refusal; then nothing is left of it."""
        transaction = self.connection.transaction()
        await transaction.start()
        try:
            answer = await deed()
        except asyncpg.PostgresError as error:
            await transaction.rollback()
            return str(error.sqlstate)
        await transaction.commit()
        return answer

    def later(self, deed: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Begin a deed on this connection; its end is awaited later."""
        return asyncio.create_task(deed)

    @staticmethod
    def refusal(code: str) -> AbstractContextManager[None]:
        """Expect a refusal inside, outside any transaction of this connection."""
        return refused(code)

    async def wait_until_blocked(self, other: "World") -> None:
        """Return once another connection waits for a lock of this one."""
        pid = other.connection.get_server_pid()
        await eventually(
            lambda: self.value("select pg_backend_pid() = any (pg_blocking_pids($1))", pid)
        )

    # --- agents -------------------------------------------------------------------------------

    async def agent(
        self,
        name: str = "ada",
        *,
        plain: bool = False,
        roles: Sequence[str] = (),
        last_seen_ago: timedelta = timedelta(0),
    ) -> Life:
        """A registered agent, or one that speaks plain SQL only; idle."""
        life = Life(name, None if plain else uuid4())
        if plain:
            await self.execute(
                "insert into agent_status (agent_name, roles) values ($1, $2)", name, list(roles)
            )
        else:
            await self.register(life, roles=roles)
        if last_seen_ago:
            await self.age_heartbeat(name, last_seen_ago)
        return life

    async def register(self, life: Life, *, roles: Sequence[str] = ()) -> Row:
        """Call register_agent."""
        row = await self.connection.fetchrow(
            "select * from register_agent($1, $2, $3)", life.name, life.incarnation, list(roles)
        )
        assert row is not None
        return row

    async def age_heartbeat(self, name: str, ago: timedelta) -> None:
        """Move an agent's last heartbeat into the past."""
        await self.execute(
            "update agent_status set last_seen = now() - $2::interval where agent_name = $1",
            name,
            ago,
        )

    async def say(self, life: Life, status: str, reason: str | None = None) -> None:
        """Call set_agent_status."""
        await self.execute(
            "select from set_agent_status($1, $2, $3, $4)",
            life.name,
            status,
            life.incarnation,
            reason,
        )

    async def heartbeat(
        self, life: Life, handoff_id: UUID | None = None, attempt: int | None = None
    ) -> Row:
        """Call heartbeat."""
        row = await self.connection.fetchrow(
            "select * from heartbeat($1, $2, $3, $4)",
            life.name,
            life.incarnation,
            handoff_id,
            attempt,
        )
        assert row is not None
        return row

    async def the_agent(self, name: str = "ada") -> Row:
        """An agent's row."""
        row = await self.connection.fetchrow(
            "select * from agent_status where agent_name = $1", name
        )
        assert row is not None
        return row

    async def shows(self, name: str = "ada") -> tuple[str, str | None]:
        """An agent's status and its reason."""
        row = await self.the_agent(name)
        return row["status"], row["blocked_reason"]

    # --- handoffs -----------------------------------------------------------------------------

    async def handoff(self, to_agent: str = "ada", **columns: object) -> UUID:
        """A handoff inserted by plain SQL."""
        given = {"from_agent": "eve", "to_agent": to_agent, "task_description": "do it"}
        values: dict[str, object] = given | columns
        places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
        inserted = await self.value(
            f"insert into handoffs ({', '.join(values)}) values ({places}) returning id",
            *values.values(),
        )
        assert isinstance(inserted, UUID)
        return inserted

    async def held(self, life: Life, *, accepted: bool = False, **columns: object) -> UUID:
        """A handoff that this idle agent was just given."""
        handoff_id = await self.handoff(life.name, **columns)
        await self.dispatch(life.name)
        if accepted:
            await self.accept(handoff_id, 1, life)
        return handoff_id

    async def the(self, handoff_id: UUID) -> Row:
        """A handoff's row."""
        row = await self.connection.fetchrow("select * from handoffs where id = $1", handoff_id)
        assert row is not None
        return row

    async def state(self, handoff_id: UUID) -> tuple[str, str | None]:
        """A handoff's status and outcome."""
        row = await self.the(handoff_id)
        return row["status"], row["outcome"]

    async def age(self, handoff_id: UUID, column: str, ago: timedelta) -> None:
        """Move one of a handoff's times into the past."""
        await self.execute(
            f"update handoffs set {column} = now() - $2::interval where id = $1", handoff_id, ago
        )

    async def events(self, handoff_id: UUID) -> list[str]:
        """The names of a handoff's events, in order."""
        rows = await self.rows(
            "select event from coordination_events where handoff_id = $1 order by sequence",
            handoff_id,
        )
        return [row["event"] for row in rows]

    async def agent_events(self, name: str = "ada") -> list[str]:
        """The names of the events of an agent's own, in order."""
        rows = await self.rows(
            "select event from coordination_events"
            " where agent = $1 and handoff_id is null order by sequence",
            name,
        )
        return [row["event"] for row in rows]

    # --- what agents do -----------------------------------------------------------------------

    async def accept(self, handoff_id: UUID, attempt: int, life: Life) -> Row:
        """Call accept_handoff."""
        row = await self.connection.fetchrow(
            "select * from accept_handoff($1, $2, $3, $4)",
            handoff_id,
            attempt,
            life.name,
            life.incarnation,
        )
        assert row is not None
        return row

    async def complete(
        self, handoff_id: UUID, attempt: int, life: Life, result: object = None
    ) -> str:
        """Call complete_handoff and return its verdict."""
        verdict = await self.value(
            "select complete_handoff($1, $2, $3, $4, $5)",
            handoff_id,
            attempt,
            life.name,
            life.incarnation,
            result,
        )
        return str(verdict)

    async def fail(
        self,
        handoff_id: UUID,
        attempt: int,
        life: Life,
        *,
        retry: bool = True,
        retry_in: timedelta | None = None,
    ) -> str:
        """Call fail_handoff and return its verdict."""
        verdict = await self.value(
            "select fail_handoff($1, $2, $3, $4, 'it broke', $5, $6)",
            handoff_id,
            attempt,
            life.name,
            life.incarnation,
            retry,
            retry_in,
        )
        return str(verdict)

    async def cancel(self, handoff_id: UUID) -> str:
        """Call cancel_handoff and return its answer."""
        return str(await self.value("select cancel_handoff($1, 'no longer needed')", handoff_id))

    async def retry(self, handoff_id: UUID, attempts: int = 3) -> None:
        """Call retry_handoff."""
        await self.execute("select from retry_handoff($1, $2)", handoff_id, attempts)

    # --- what the daemon does -----------------------------------------------------------------

    async def dispatch(
        self, *addresses: str, agents: Sequence[str] = (), batch: int = 1000, term: int = 0
    ) -> tuple[int, bool]:
        """Run a dispatch pass; how many were given, and whether work was left over."""
        [row] = await self.run(
            "dispatch",
            addresses=list(addresses),
            agents=list(agents),
            term=term,
            stale_after=STALE_AFTER,
            batch=batch,
        )
        return row["dispatched"], row["left_over"]

    async def sweep(self, name: str) -> int:
        """Run one of the sweeping statements with the default limits; how many it met."""
        limits: dict[str, object] = {
            "batch": 1000,
            "stale_after": STALE_AFTER,
            "take_back_after": TAKE_BACK_AFTER,
            "accept_timeout": ACCEPT_TIMEOUT,
            "cancel_grace": CANCEL_GRACE,
            "since": await self.value("select now() - interval '1 minute'"),
            "incarnations": await self.value("select array_agg(incarnation) from agent_status"),
        }
        query = statement(name)
        given = {key: value for key, value in limits.items() if key in query.parameters}
        [row] = await self.run(name, **given)
        return int(row[0])

    async def end_by_force(self, handoff_id: UUID) -> None:
        """Let an attempt run past its own time limit, and sweep."""
        await self.age(handoff_id, "attempt_ends_at", timedelta(seconds=1))
        assert await self.sweep("take_back_timed_out") == 1


@contextmanager
def refused(code: str) -> Iterator[None]:
    """Expect PostgreSQL to refuse what is inside with this SQLSTATE, with a hint if it is ours."""
    with pytest.raises(asyncpg.PostgresError) as caught:
        yield
    assert caught.value.sqlstate == code, str(caught.value)
    if code.startswith("ZH"):
        assert getattr(caught.value, "hint", None), "a refusal says what to do"
