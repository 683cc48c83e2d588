"""Agents of one host as the database sees them: one connection, and a gate that keeps it busy."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import anyio

from coordinator.agents.background import background
from coordinator.core.errors import CoordinatorError
from coordinator.core.model import Life, NewHandoff, Token, Verdict
from coordinator.store.agent_calls import DatabaseCalls
from coordinator.store.dsn import connect_target
from coordinator.store.queries import names, query
from tests.support.postgres import Database
from tests.support.sdk import Desk
from tests.support.waiting import eventually

HOST = "crew"
_GATES = """
create table gates (task text);
create function wait_at_gate() returns trigger language plpgsql as $$
begin
  while exists (select from public.gates g where g.task = new.task_description) loop
    perform pg_sleep(0.002);
  end loop;
  return new;
end $$;
create trigger gate before update on handoffs
for each row when (old.status = 'in_progress') execute function wait_at_gate();
"""
Call = Callable[["Member"], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Gate:
    """Stops whoever takes up or settles a handoff of a certain task; the server waits there."""

    desk: Desk

    @classmethod
    async def build(cls, desk: Desk) -> "Gate":
        """Put it up, open."""
        await desk.sql.execute(_GATES)
        return cls(desk)

    async def close(self, task: str) -> None:
        """Let handoffs of this task pass no more."""
        await self.desk.sql.execute("insert into gates values ($1)", task)

    async def open(self, task: str) -> None:
        """Let them pass."""
        await self.desk.sql.execute("delete from gates where task = $1", task)

    async def reached(self) -> None:
        """Wait until a session stands there."""
        await eventually(lambda: self._is_anybody_in("wait_event = 'PgSleep'"))

    async def queued_behind(self) -> None:
        """Wait until a session waits for what one at a gate has locked."""
        await eventually(lambda: self._is_anybody_in("wait_event_type = 'Lock'"))

    async def _is_anybody_in(self, state: str) -> bool:
        found = await self.desk.sql.fetchval(
            "select exists (select from pg_stat_activity"
            f" where datname = current_database() and {state})"
        )
        return bool(found)


@dataclass(frozen=True, slots=True)
class Member:
    """One agent, and the attempt that it holds."""

    calls: DatabaseCalls
    life: Life
    token: Token

    @property
    def id(self) -> UUID:
        """What it holds."""
        return self.token.handoff_id

    async def accept(self) -> Any:
        """Take up this very attempt."""
        return await self.calls.accept(self.life, self.token)

    async def take_up(self) -> Any:
        """Take up whatever it holds."""
        return await self.calls.take_up(self.life)

    async def held(self) -> Any:
        """Read what it holds."""
        return await self.calls.held(self.life)

    async def complete(self, result: Any = None, *follow_ups: NewHandoff) -> Verdict:
        """Complete it."""
        return await self.calls.complete(
            self.life, self.token, result=result, follow_ups=follow_ups
        )

    async def fail(self, error: str = "it broke", retry_in: timedelta | None = None) -> Verdict:
        """Fail it."""
        return await self.calls.fail(
            self.life, self.token, error=error, retry=True, retry_in=retry_in, result=None
        )


@dataclass(slots=True)
class Crew:
    """The agents, and what each was answered."""

    desk: Desk
    gate: Gate
    calls: DatabaseCalls
    incarnation: UUID = field(default_factory=uuid4)
    answers: dict[str, Any] = field(default_factory=dict)
    """By an agent's name: what it was answered, or the error that it got."""

    async def join(self, name: str, task: str = "do it", **columns: Any) -> Member:
        """Register an agent, and give it a handoff."""
        life = Life(name, self.incarnation)
        await self.calls.register(life, roles=(), metadata={})
        handoff_id = await self.desk.give(name, task, **columns)
        return Member(self.calls, life, Token(handoff_id, 1))

    async def ask(self, call: Call, member: Member) -> None:
        """Make a call for an agent, and note what comes of it."""
        try:
            self.answers[member.life.agent_name] = await call(member)
        except CoordinatorError as error:
            self.answers[member.life.agent_name] = error

    async def together(self, call: Call, *members: Member) -> None:
        """Make a call for all of these while another one of its kind is under way."""
        async with anyio.create_task_group() as tasks, self.busy(call):
            for member in members:
                tasks.start_soon(self.ask, call, member)

    @asynccontextmanager
    async def busy(self, call: Call) -> AsyncIterator[None]:
        """Keep the connection busy with a call of this kind, while others are asked for."""
        first = await self.join("first", "stopped at the gate")
        await self.gate.close("stopped at the gate")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.ask, call, first)
            await self.gate.reached()
            yield
            await anyio.wait_all_tasks_blocked()
            await self.gate.open("stopped at the gate")

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Hear the names of the statements that the crew's connection runs in the block."""
        known = {query(name).text: name for name in names()}
        heard: list[str] = []
        with self.calls._connection._raw.query_logger(lambda run: heard.append(known[run.query])):
            yield heard

    async def transactions(self, event: str, *members: Member) -> list[int]:
        """The transactions in which this happened to what they hold, in the members' order."""
        rows = await self.desk.sql.fetch(
            "select handoff_id, xid::text::bigint as xid from coordination_events where event = $1",
            event,
        )
        by_handoff = {row["handoff_id"]: row["xid"] for row in rows}
        assert len(by_handoff) == len(rows), "nothing happens twice"
        return [by_handoff[member.id] for member in members]


@asynccontextmanager
async def crew_at(database: Database, desk: Desk) -> AsyncIterator[Crew]:
    """A crew on a connection of its own."""
    async with background() as tasks:
        calls = await DatabaseCalls.open(
            connect_target(database.dsn),
            tasks,
            application_name=HOST,
            answer_within=timedelta(seconds=10),
        )
        try:
            yield Crew(desk, await Gate.build(desk), calls)
        finally:
            await calls.close()
