"""Calls of many agents on one connection, carried by as few statements as there are turns.

The first call starts at once, as a statement of its own. What arrives while the connection is busy
goes together when its turn comes: one statement, one transaction, one commit. There is no timer, so
that nobody waits for company, and a lone agent's call is what it was.

A group is done whole or not at all; its callers are not. Where it fails on a connection that
stands, each of its calls is made again alone, and gets its own answer or its own error. Where the
connection is lost, all of them are told, as each alone would be. A caller that is cancelled leaves
the queue, or leaves its answer to nobody: the statement goes on for the others.

Locks: a group takes its handoffs in the order of their ids, each one's agent right after it. An
agent that settles what it holds is locked by nobody who has not locked that handoff first, so that
of two groups the one that comes second to a handoff waits there, with nothing behind it that the
first still needs. Only a late word locks an agent without what it holds by now; therefore, and
since one row kept locked by a stranger must not keep all the others waiting, a group waits for a
lock shorter than PostgreSQL takes to look for a deadlock, and then everybody goes alone.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import anyio
import asyncpg
from anyio.abc import TaskGroup

from coordinator.core.errors import CoordinatorError, StoreUnavailable
from coordinator.store.connection import Connection, Statements, as_json
from coordinator.store.queries import query

MOST_CALLS = 100
"""In one group. Nobody is answered before all are done, at 1 to 3 ms each on a busy machine, and
groups of 32, 100 and 250 used the same processor time for a handoff."""
MOST_BYTES = 1024 * 1024
"""Of text in one group, and in its answer; a single call may have more."""
LOCK_WITHIN = timedelta(milliseconds=200)
"""As in heartbeat_many: a lock is mostly a transaction about to commit, and worth a short wait."""

Row = Mapping[str, Any]


@dataclass(slots=True, eq=False)
class _Waiting:
    parameters: Mapping[str, object]
    over: anyio.Event = field(default_factory=anyio.Event)
    rows: list[Row] | None = None
    """The answer; None: ask alone."""
    error: StoreUnavailable | None = None

    @property
    def size(self) -> int:
        return sum(len(value) for value in self.parameters.values() if isinstance(value, str))


class GroupedCall:
    """One kind of call on one connection, which many agents may make at once."""

    def __init__(
        self,
        connection: Connection,
        tasks: TaskGroup,
        together: str,
        *,
        as_text: Sequence[str] = (),
        **settings: object,
    ) -> None:
        """Carry groups by the statement `together`: its parameters are arrays, and the `settings`.

        JSON values named in `as_text` are given to it as text. It answers a call with a row whose
        `nth` is the call's number from 1, all other fields null for an answer without a row; a call
        without such a row is made alone. `tasks` outlasts the connection.
        """
        self._connection = connection
        self._tasks = tasks
        self._together = together
        self._as_text = as_text
        self._settings = settings
        self._queue: deque[_Waiting] = deque()
        self._under_way = False
        self._hindered: set[object] = set()
        """Agents whose last call alone was answered by nothing, such as a lock: no company."""

    async def ask(self, alone: str, **parameters: object) -> list[Row]:
        """Return the rows of the statement `alone`, whichever statement carries the call.

        Raises StoreUnavailable and RequestRefused as it does.
        """
        if not self._under_way:
            self._under_way = True
            try:
                return await self._alone(alone, parameters)
            finally:
                self._go_on()
        rows = await self._in_a_group(parameters)
        return await self._alone(alone, parameters) if rows is None else rows

    async def _alone(self, name: str, parameters: Mapping[str, object]) -> list[Row]:
        agent_name = parameters["agent_name"]
        self._hindered.discard(agent_name)
        try:
            return [dict(row) for row in await self._connection.run(name, **parameters)]
        except StoreUnavailable:
            self._hindered.add(agent_name)
            raise

    async def _in_a_group(self, parameters: Mapping[str, object]) -> list[Row] | None:
        """Return what a group's statement answers; None where it has to be asked alone."""
        if parameters["agent_name"] in self._hindered:
            return None
        try:
            waiting = _Waiting(self._written(parameters))
        except (TypeError, ValueError, RecursionError):
            return None  # it is no JSON, and refused for that
        self._queue.append(waiting)
        try:
            await waiting.over.wait()
        finally:
            if not waiting.over.is_set() and waiting in self._queue:
                self._queue.remove(waiting)
        if waiting.error is not None:
            error = waiting.error
            raise StoreUnavailable(error.what, error.why, error.fix) from error
        return waiting.rows

    def _written(self, parameters: Mapping[str, object]) -> dict[str, object]:
        return {
            name: as_json(value) if name in self._as_text and value is not None else value
            for name, value in parameters.items()
        }

    def _go_on(self) -> None:
        if self._queue and not self._connection.lost.is_set():
            self._tasks.start_soon(self._carry)
        else:
            self._stop()

    async def _carry(self) -> None:
        try:
            while self._queue:
                async with self._connection.turn() as statements:
                    # Only now: whoever came while the connection was busy is in it.
                    await self._carry_one(self._next_group(), statements)
        finally:
            self._stop()

    def _stop(self) -> None:
        self._under_way = False
        while self._queue:
            self._queue.popleft().over.set()

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        size = 0
        while self._queue and len(group) < MOST_CALLS and (size < MOST_BYTES or not group):
            group.append(self._queue.popleft())
            size += group[-1].size
        return group

    async def _carry_one(self, group: Sequence[_Waiting], statements: Statements) -> None:
        try:
            if len(group) > 1:
                for row in await statements.run(self._together, **self._parameters(group)):
                    answer = dict(row)
                    waiting = group[answer.pop("nth") - 1]
                    known = any(value is not None for value in answer.values())
                    waiting.rows = [answer] if known else []
        except StoreUnavailable as error:
            if self._connection.lost.is_set():
                for waiting in group:
                    waiting.error = error
        except (CoordinatorError, asyncpg.PostgresError):
            pass  # whoever it was hears it alone
        finally:
            for waiting in group:
                waiting.over.set()

    def _parameters(self, group: Sequence[_Waiting]) -> dict[str, object]:
        arrays = {
            name: [waiting.parameters.get(name) for waiting in group]
            for name in query(self._together).parameters
            if name not in self._settings
        }
        return {**arrays, **self._settings}
