"""Plans made on quiet days must not slow a burst: triggers keep theirs for a session."""

import os
import time
from pathlib import Path

from tests.integration.schema.world import World
from tests.support.postgres import Database

BURST = 5000
QUIET_ROUNDS = 334
"""Three single operations each: an insert, a dispatch, a completion."""

COMPLETE = "update handoffs set status = 'completed' where status = 'in_progress'"


async def test_a_burst_of_5000_after_1000_quiet_operations_is_as_fast_as_on_a_fresh_connection(
    committed: World, database: Database
) -> None:
    await crew(committed)
    async with World.on(database) as before:
        fresh = [await burst(before)]
    await clear(committed)
    async with World.on(database) as quiet:
        for _ in range(QUIET_ROUNDS):
            await one_by_one(quiet)
        await clear(committed)
        after_quiet = await burst(quiet)
    await clear(committed)
    async with World.on(database) as after:
        fresh.append(await burst(after))

    assert after_quiet < 2 * max(fresh), f"fresh {fresh}, after quiet days {after_quiet}"


async def crew(world: World) -> None:
    """As many idle agents of one role as the burst needs."""
    await world.execute(
        "insert into agent_status (agent_name, roles)"
        " select 'agent ' || n, '{crew}' from generate_series(1, $1) n",
        BURST,
    )


async def clear(world: World) -> None:
    """Leave an empty queue. On another connection: what changes a table drops cached plans."""
    await world.execute("delete from handoffs")
    for table in ("handoffs", "agent_status", "coordination_events"):
        await world.execute(f"vacuum analyze {table}")


async def one_by_one(world: World) -> None:
    """A quiet day: one handoff, one dispatch, one completion."""
    await world.handoff("crew")
    await world.dispatch("crew")
    await world.execute(COMPLETE)


async def burst(world: World) -> float:
    """Insert, dispatch and complete many at once; the seconds that it cost the server."""
    begun = cost_s(world)
    await world.execute(
        "insert into handoffs (from_agent, to_agent, task_description)"
        " select 'eve', 'crew', 'do it' from generate_series(1, $1) n",
        BURST,
    )
    await world.execute("update agent_status set last_seen = now()")
    assert await world.dispatch("crew", batch=BURST) == (BURST, False)
    await world.execute(COMPLETE)
    return cost_s(world) - begun


def cost_s(world: World) -> float:
    """What the session has cost the processor so far; without /proc, the time of day must do."""
    stat = Path(f"/proc/{world.connection.get_server_pid()}/stat")
    if not stat.exists():
        return time.perf_counter()
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
