"""An operator sets time limits for every session of the database, and far too short ones."""

from dataclasses import dataclass
from datetime import timedelta

import anyio
import asyncpg

from tests.faults.blows.outage import SHORTEST, drawn
from tests.faults.blows.sessions import end_all
from tests.faults.fault import NotStruck
from tests.faults.field import Field
from tests.integration.schema.world import World

_LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
_UNBOUND = {"statement_timeout": "0"}


@dataclass(frozen=True, slots=True)
class StatementTimeouts:
    """Defaults bind sessions that begin; so all are ended, and come back under the limits."""

    longest: timedelta = timedelta(seconds=2)
    shortest: timedelta = SHORTEST
    shortest_limit_ms: int = 1
    longest_limit_ms: int = 50
    holds_locks: bool = False
    name: str = "statement timeouts"

    async def strike(self, field: Field) -> str:
        """Set, end all sessions, reset; the proof is a statement of ours that was cancelled."""
        limit = field.chance.randint(self.shortest_limit_ms, self.longest_limit_ms)
        try:
            ended = await _set(field, *(f"set {name} = '{limit}ms'" for name in _LIMITS))
            cancelled = await _is_cancelled(field)
            await anyio.sleep(drawn(field, self.longest, self.shortest))  # the limits themselves
        finally:
            with anyio.CancelScope(shield=True):
                await _set(field, *(f"reset {name}" for name in _LIMITS))
        if not cancelled:
            raise NotStruck(f"a statement of a second ran under a limit of {limit} ms")
        return f"{ended} sessions began anew under {limit} ms; a statement of ours was cancelled"


async def _set(field: Field, *changes: str) -> int:
    """Change defaults, and end all sessions, which have the old ones; return how many."""

    async def change(_: World) -> int:
        async with World.on(field.database, **_UNBOUND) as world:
            for change in changes:
                await world.execute(f"alter database {field.database.name} {change}")
            return await end_all(world)

    return await field.ask(change)


async def _is_cancelled(field: Field) -> bool:
    async with field.database.connect() as connection:
        try:
            await connection.execute("select pg_sleep(1)")
        except asyncpg.QueryCanceledError:
            return True
    return False
