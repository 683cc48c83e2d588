"""What our tables tell of the work that was done on them."""

import time

import anyio

from benchmarks.cluster import connected
from benchmarks.contest import Fact

LIFE = ("handoff.queued", "handoff.dispatched", "handoff.accepted", "handoff.succeeded")
"""The events of one handoff that goes well."""
OPEN = "select count(*) from handoffs where status in ('pending', 'in_progress')"
_LOOKS_EVERY_S = 0.002


async def when_none(dsn: str, unfinished: str) -> float:
    """Wait until the tables show nothing unfinished; return when that was."""
    async with connected(dsn) as connection:
        while await connection.fetchval(unfinished):  # noqa: ASYNC110 - another process works
            await anyio.sleep(_LOOKS_EVERY_S)
    return time.monotonic()


async def completed(dsn: str, count: int, *, events: int) -> list[Fact]:
    """What must be so once so many handoffs have gone well, with so many events each."""
    async with connected(dsn) as connection:
        done = await connection.fetchval(
            "select count(*) from handoffs where status = 'completed' and outcome = 'succeeded'"
            " and attempt = 1 and accepted_at is not null"
        )
        told = await connection.fetchrow(
            "select count(*), count(distinct handoff_id), count(distinct (handoff_id, event))"
            " from coordination_events where handoff_id is not null"
        )
    assert told is not None
    return [
        Fact("handoffs succeeded at their first attempt", count, done),
        Fact("events", count * events, told[0]),
        Fact("different events", count * events, told[2]),
    ]
