"""Agents that know the two tables and their channel, and nothing else: `… '<AgentOrders>'`.

They work on, whatever becomes of the database, until they are killed. Without an incarnation an
agent that was killed is the same agent to the database once it runs again: it finds the attempt
that it held, and begins it anew.
"""

import json
import random
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal
from uuid import UUID, uuid4

import anyio

from coordinator.agents.bell import Bell
from tests.faults.history import Recorder
from tests.faults.load.line import Line
from tests.faults.load.orders import AgentOrders
from tests.faults.load.task import EVERYBODY, Ending, Task, ending, roles_of
from tests.support.postgres import Connection

# Also said after each handoff: one that ended by force leaves its agent blocked until then.
_FREE = """
    insert into agent_status (agent_name, roles) values ($1, $2)
    on conflict (agent_name) do update
    set status = 'idle', roles = excluded.roles, last_seen = now()
"""
_HEARTBEAT = "update agent_status set last_seen = now() where agent_name = $1"
_MINE = """
    select id, attempt, context, max_attempts
    from handoffs
    where assigned_agent = $1 and status = 'in_progress'
"""
_IS_CANCEL_REQUESTED = "select cancel_requested from handoffs where id = $1"
# The attempt is the proof that the work is still ours; no row is updated once it is not.
_COMPLETE = """
    update handoffs set status = 'completed', outcome = $3, result = $4
    where id = $1 and attempt = $2 and status = 'in_progress'
"""
_HAND_ON = """
    insert into handoffs (from_agent, to_agent, task_description, context, max_attempts, parent_id)
    values ($1, $2, 'the next step', $3, $4, $5)
"""
_IS_OURS = "select count(*) = 1 from handoffs where id = $1 and attempt = $2 and result = $3"

_OBEYS = 0.5
"""How often an agent looks whether it should stop."""


@dataclass(frozen=True, slots=True)
class _Held:
    id: UUID
    attempt: int
    task: Task
    max_attempts: int


class PlainAgent:
    """One agent."""

    def __init__(self, orders: AgentOrders, name: str, recorder: Recorder) -> None:
        self._name = name
        self._roles = roles_of(name, orders.names)
        self._heartbeat_s = orders.heartbeat_s
        self._recorder = recorder
        self._chance = random.Random(f"{orders.seed} {name}")
        self._pushed = Bell()
        self._line = Line(orders.dsn, f"plain agent {name}", self._chance, greet=self._greet)

    async def live(self) -> None:
        """Take up what there is, for ever."""
        while True:
            # A push is a hint and may be lost: the row is the truth.
            held = await self._line.ask(self._mine)
            if held is not None:
                await self._work_on(held)
                continue
            with anyio.move_on_after(self._heartbeat_s) as limit:
                await self._pushed.wait()
            if limit.cancelled_caught:
                # Not a mere heartbeat: an attempt may have ended by force before we ever saw it,
                # and nothing else would lift the block.
                await self._line.ask(self._say_idle)

    async def _greet(self, connection: Connection) -> None:
        channel = await connection.fetchval("select agent_channel($1)", self._name)
        await connection.add_listener(channel, lambda *_: self._pushed.ring())
        await self._say_idle(connection)

    async def _say_idle(self, connection: Connection) -> None:
        await connection.execute(_FREE, self._name, self._roles)

    async def _mine(self, connection: Connection) -> _Held | None:
        row = await connection.fetchrow(_MINE, self._name)
        if row is None:
            return None
        task = Task.model_validate_json(row["context"])
        return _Held(row["id"], row["attempt"], task, row["max_attempts"])

    async def _beat(self) -> None:
        await self._line.ask(lambda connection: connection.execute(_HEARTBEAT, self._name))

    async def _work_on(self, held: _Held) -> None:
        self._recorder.note("accepted", handoff_id=held.id, attempt=held.attempt)
        await self._spend(held.task.takes_s(self._chance))
        outcome = await self._outcome(held)
        self._recorder.note("finishing", handoff_id=held.id, attempt=held.attempt, outcome=outcome)
        verdict = await self._settle(held, outcome)
        self._recorder.note("finished", handoff_id=held.id, attempt=held.attempt, verdict=verdict)
        await self._line.ask(self._say_idle)

    async def _spend(self, seconds: float) -> None:
        while seconds > self._heartbeat_s:
            await anyio.sleep(self._heartbeat_s)  # a part of the work
            await self._beat()
            seconds -= self._heartbeat_s
        await anyio.sleep(seconds)  # the work itself

    async def _outcome(self, held: _Held) -> Literal["succeeded", "failed"]:
        if held.task.must_succeed:
            return "succeeded"  # a plain agent cannot ask for another attempt
        if self._chance.random() < _OBEYS and await self._line.ask(
            lambda connection: connection.fetchval(_IS_CANCEL_REQUESTED, held.id)
        ):
            return "failed"
        done = ending(held.task, held.attempt, self._chance) is Ending.DONE
        return "succeeded" if done else "failed"

    async def _settle(self, held: _Held, outcome: Literal["succeeded", "failed"]) -> str:
        """Complete it; return the verdict, as the functions would word it."""
        # What no other word can be: it tells our own from a stranger's once an answer was lost.
        result = json.dumps({"word": str(uuid4())})
        rest = held.task.rest if outcome == "succeeded" else None

        async def settle(connection: Connection) -> str:
            async with connection.transaction():
                done = await connection.execute(_COMPLETE, held.id, held.attempt, outcome, result)
                if done == "UPDATE 1":
                    if rest is not None:
                        await connection.execute(
                            _HAND_ON,
                            self._name,
                            EVERYBODY,
                            rest.model_dump_json(),
                            held.max_attempts,
                            held.id,
                        )
                    return "applied"
            ours = await connection.fetchval(_IS_OURS, held.id, held.attempt, result)
            return "repeated" if ours else "stale"

        return await self._line.ask(settle)


async def main(orders: AgentOrders) -> None:
    """Run all agents for ever."""
    with ExitStack() as recorders:
        async with anyio.create_task_group() as agents:
            for name in orders.names:
                recorder = recorders.enter_context(Recorder(orders.notes, name))
                agents.start_soon(PlainAgent(orders, name, recorder).live)


if __name__ == "__main__":
    anyio.run(main, AgentOrders.given())
