"""A stranger's transaction holds a lock, on one row or on a whole table, and does nothing."""

from dataclasses import dataclass
from datetime import timedelta

import anyio

from tests.faults.blows.outage import SHORTEST, drawn
from tests.faults.fault import NotStruck
from tests.faults.field import Field
from tests.integration.schema.world import World

LOCKS = (
    "select from handoffs where id = (select id from handoffs where status <> 'completed'"
    " order by random() limit 1) for update",
    "select from agent_status where id = (select id from agent_status order by random() limit 1)"
    " for update",
    "select from coordination.leadership for update",
    *(
        f"lock table {table} in {mode} mode"
        for table in ("handoffs", "agent_status", "coordination_events")
        for mode in ("share", "access exclusive")
    ),
)
"""Share mode lets everybody read and nobody write, as while an index is built."""


@dataclass(frozen=True, slots=True)
class StrangerLocks:
    """A backup, a migration by hand, or a `begin` that somebody forgot in a terminal."""

    longest: timedelta = timedelta(seconds=3)
    shortest: timedelta = SHORTEST
    locks: tuple[str, ...] = LOCKS
    """Statements that take the lock; one of them is drawn."""
    holds_locks: bool = True
    name: str = "stranger locks"

    async def strike(self, field: Field) -> str:
        """Take one, hold it, roll back; the proof is the lock, and how many waited for it."""
        lock = field.chance.choice(self.locks)

        async def hold(world: World) -> str:
            async with world.savepoint():
                tag = await world.execute(lock)
                if tag == "SELECT 0":
                    raise NotStruck(f"no such row: {lock}")
                lasting = drawn(field, self.longest, self.shortest)
                await anyio.sleep(lasting)  # the lock itself
                return f"{await _waiters(world)} waited after {lasting:.2f} s of: {lock}"

        return await field.ask(hold)


async def _waiters(world: World) -> int:
    return int(
        await world.value(
            "select count(distinct pid) from pg_locks"
            " where not granted and pg_backend_pid() = any (pg_blocking_pids(pid))"
        )
    )
