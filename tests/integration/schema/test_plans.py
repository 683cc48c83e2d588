"""The hot statements keep their index on large tables, planned for their values or for any.

100,000 handoffs wait, 100,000 are completed, 10,000 agents are there, all ANALYZEd. Both plans are
looked at, since a prepared statement turns to the generic one after five runs.
"""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests.integration.schema.mutation import statement, wound
from tests.integration.schema.world import World
from tests.support.postgres import Cluster, Database

LOAD = """
set session_replication_role = replica;

insert into agent_status (agent_name, status, roles, last_seen, incarnation)
select 'agent ' || n, case when n % 2 = 0 then 'idle' else 'working' end,
  case when n % 10 = 0 then array['reviewer'] else '{}' end, now(), gen_random_uuid()
from generate_series(1, 10000) n;

insert into handoffs (id, root_id, from_agent, to_agent, task_description, due, available_at)
select i.id, i.id, 'eve', case when n % 2 = 0 then 'backlog' else 'agent ' || n % 10000 end,
  'do it', n % 5 <> 0, now() + case when n % 5 = 0 then interval '1 hour' else interval '0' end
from (select n, gen_random_uuid() as id from generate_series(1, 100000) n) i;

insert into handoffs (id, root_id, from_agent, to_agent, task_description, status, outcome,
  finished_at, attempt, assigned_agent, deadline_at)
select i.id, i.id, 'eve', 'agent ' || n % 10000, 'do it', 'completed', 'succeeded', now(), 1,
  'agent ' || n % 10000, now()
from (select n, gen_random_uuid() as id from generate_series(1, 100000) n) i;

insert into handoffs (id, root_id, from_agent, to_agent, task_description, status, attempt,
  assigned_agent, held_by, dispatched_at, accepted_at)
select a.id, a.id, 'eve', a.agent_name, 'do it', 'in_progress', 1, a.agent_name, a.incarnation,
  now(), now()
from agent_status a
where a.status = 'working' and a.roles = '{}'
limit 2000;

update agent_status a set current_handoff = h.id
from handoffs h where h.assigned_agent = a.agent_name and h.status = 'in_progress';

insert into coordination_events (handoff_id, event, xid)
select gen_random_uuid(), 'handoff.queued', pg_current_xact_id() from generate_series(1, 100000) n;

set session_replication_role = origin;
"""
"""Without the triggers: what they do is tested elsewhere."""

NOW_SNAPSHOT = "pg_current_snapshot()::text"
BATCH = 100


@dataclass(frozen=True, slots=True)
class Hot:
    """A statement, its values as SQL, and how many rows of handoffs and events it may read."""

    name: str
    values: dict[str, str]
    most_rows: int


LIMITS = {
    "batch": str(BATCH),
    "stale_after": "interval '45 seconds'",
    "take_back_after": "interval '120 seconds'",
    "accept_timeout": "interval '30 seconds'",
    "cancel_grace": "interval '30 seconds'",
    "term": "0",
    "leader": "gen_random_uuid()",
    "target": "null",
    "logged": "0",
    "floor": "0",
    "page": "500",
    "seen": NOW_SNAPSHOT,
    "since": "now() - interval '1 minute'",
}

HOT = [
    Hot("dispatch", {"addresses": "'{agent 2222}'", "agents": "'{}'"}, 3 * BATCH),
    Hot("dispatch", {"addresses": "'{}'", "agents": "'{agent 2222}'"}, 3 * BATCH),
    Hot("dispatch", {"addresses": "'{backlog}'", "agents": "'{}'"}, 3 * BATCH),
    Hot("dispatch", {"addresses": "'{reviewer}'", "agents": "'{}'"}, 3 * BATCH),
    Hot("scan", {}, 7000),
    Hot("make_due", {}, BATCH),
    Hot("end_overdue", {}, BATCH),
    Hot("take_back_timed_out", {}, BATCH),
    Hot("take_back_unaccepted", {}, BATCH),
    Hot("end_cancelled", {}, BATCH),
    Hot("take_back_lapsed", {}, BATCH),
    Hot("push_again", {}, BATCH),
    Hot("look", {}, 10),
    Hot("read_events", {}, 100),
    Hot("read_more_events", {"seen": "null", "target": NOW_SNAPSHOT, "logged": "50000"}, 600),
]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def large_database(cluster: Cluster) -> AsyncIterator[Database]:
    """A database with a large queue, in which nobody commits."""
    async with cluster.database() as database:
        await wound(database)
        async with World.on(database) as world:
            await world.execute(LOAD)
            for table in ("agent_status", "handoffs", "coordination_events"):
                await world.execute(f"vacuum analyze {table}")
        yield database


@pytest.fixture
async def large(large_database: Database) -> AsyncIterator[World]:
    """A transaction of the daemon's on the large database that is rolled back in the end."""
    async with World.on(large_database, jit="off") as world, world.savepoint():
        await world.execute("set local role coordinator_daemon")
        yield world


@pytest.mark.matrix
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("hot", HOT, ids=lambda hot: f"{hot.name} {hot.values}")
async def test_a_hot_statement_keeps_its_index(large: World, hot: Hot, mode: str) -> None:
    plan = await explained(large, hot, mode)

    scans = [node for node in nodes(plan) if node.get("Relation Name") in LARGE]
    assert [node["Node Type"] for node in scans if node["Node Type"] == "Seq Scan"] == []
    read = sum(rows_read(node) for node in nodes(plan) if reads_large(node))
    assert read <= hot.most_rows, summary(plan)


LARGE = ("handoffs", "coordination_events")


@pytest.mark.matrix
async def test_row_level_security_leaves_the_daemon_the_owners_plans(large: World) -> None:
    """Its policy is always true, and the planner strikes that out.

    Custom plans may differ: under any policy the statistics of `roles` are out of bounds.
    """
    plans = {}
    for role in ("none", "coordinator_daemon"):
        await large.execute(f"set local role {role}")
        plans[role] = [
            shape(await explained(large, hot, "force_generic_plan", run=False)) for hot in HOT
        ]

    assert plans["coordinator_daemon"] == plans["none"]


async def explained(world: World, hot: Hot, mode: str, *, run: bool = True) -> dict[str, Any]:
    """Prepare the statement under a mode of planning, `run` it, and return its plan."""
    query = statement(hot.name)
    values = LIMITS | hot.values
    given = ", ".join(values[name] for name in query.parameters)
    await world.execute(f"set local plan_cache_mode = {mode}")
    await world.execute(f"prepare hot as {query.text}")
    try:
        told = await world.value(
            f"explain (format json{', analyze, timing off' if run else ''}) execute hot"
            + (f"({given})" if given else "")
        )
    finally:
        await world.execute("deallocate hot")
    [plan] = told if isinstance(told, list) else json.loads(told)
    found: dict[str, Any] = plan["Plan"]
    return found


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's nodes, from the top."""
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


def shape(plan: dict[str, Any]) -> list[tuple[str, ...]]:
    """What a plan does to what, from the top, with every condition."""
    told = ("Node Type", "Relation Name", "Index Name", "Index Cond", "Filter", "Join Type")
    return [tuple(str(node.get(key)) for key in told) for node in nodes(plan)]


def reads_large(node: dict[str, Any]) -> bool:
    """Whether a node reads rows or index entries of a large table."""
    return node["Node Type"] != "ModifyTable" and (
        node.get("Relation Name") in LARGE or str(node.get("Index Name")).startswith("handoffs_")
    )


def rows_read(node: dict[str, Any]) -> int:
    """Rows that a node read, those that it threw away included."""
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return int((node["Actual Rows"] + removed) * node["Actual Loops"])


def summary(plan: dict[str, Any]) -> str:
    """What read how much, for a failure's message."""
    return "; ".join(
        f"{node['Node Type']} {node.get('Index Name', node.get('Relation Name', ''))}"
        f" {rows_read(node)}"
        for node in nodes(plan)
        if rows_read(node) > 10
    )


@pytest.mark.matrix
async def test_agents_are_found_by_their_role_without_reading_them_all(large: World) -> None:
    plan = await explained(
        large,
        Hot("dispatch", {"addresses": "'{agent 2222}'", "agents": "'{}'"}, 0),
        "force_generic_plan",
    )

    read = [node for node in nodes(plan) if node.get("Relation Name") == "agent_status"]
    assert sum(rows_read(node) for node in read if node["Node Type"] != "ModifyTable") < 1000
