"""The policies leave pages and writes their indexes on large tables, for known values and for any.

One database has 1,000,000 tasks, spread evenly over 1,000 workspaces; the other has 100,000, half
of them in one workspace, imported 1,000 at a time, so that as many share their `created_at`. Person
n owns workspace n and is a member of two others; one more person is a member of all.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from tests.integration.schema.test_plans import nodes, rows_read, summary
from tests.integration.schema.world import World
from tests.support.postgres import Cluster, Connection, Database
from tests.support.supabase import OWNER, Defaults, acting

PEOPLE = """
insert into auth.users (id) select lpad(n::text, 32, '0')::uuid from generate_series(1, 1001) n;
insert into users (id) select id from auth.users;
insert into workspaces (id, name, slug, owner_id)
select u.id, 'Workspace', 'workspace-' || n, u.id
from (select n, lpad(n::text, 32, '0')::uuid as id from generate_series(1, 1000) n) u;
insert into workspace_members (workspace_id, user_id, role)
select lpad(((n + 333 * k - 1) % 1000 + 1)::text, 32, '0')::uuid, lpad(n::text, 32, '0')::uuid,
  case k when 0 then 'owner' else 'member' end
from generate_series(1, 1000) n, generate_series(0, 2) k;
insert into workspace_members (workspace_id, user_id)
select id, lpad('1001', 32, '0')::uuid from workspaces;
insert into clients (id, workspace_id, name)
select lpad(n::text, 32, '0')::uuid, lpad((n % 1000 + 1)::text, 32, '0')::uuid, 'Client'
from generate_series(0, 9999) n;
"""

TASKS = """
insert into tasks (id, workspace_id, client_id, assignee_id, title, status, created_at, handoff_id)
select lpad(n::text, 32, '0')::uuid, workspace.id,
  case when own then lpad((n % 10000)::text, 32, '0')::uuid end,
  case when own and n / 1000 % 3 = 0 then workspace.id end,
  'Task ' || n, (array['todo', 'in_progress', 'review', 'done'])[1 + n / 1000 % 4],
  timestamptz '2026-01-01 00:00Z' + n / {at_once} * interval '1 second',
  case when n % 10 = 0 then lpad(n::text, 32, '0')::uuid end
from generate_series(0, {tasks} - 1) n,
  lateral (select not ({skewed} and n % 2 = 0) as own) o,
  lateral (select case when own then n % 1000 + 1 else 7 end as number) w,
  lateral (select lpad(w.number::text, 32, '0')::uuid as id) workspace
"""

INDEXES = (
    "select format('alter table tasks drop constraint %I', conname) as removal,"
    " format('alter table tasks add constraint %I %s', conname, pg_get_constraintdef(oid))"
    " as making"
    " from pg_constraint where conrelid = 'tasks'::regclass and contype in ('p', 'u')"
    " union all"
    " select format('drop index %s', indexrelid::regclass), pg_get_indexdef(indexrelid)"
    " from pg_index i where indrelid = 'tasks'::regclass"
    " and not exists (select from pg_constraint c where c.conindid = i.indexrelid)"
)
"""How the indexes of tasks are dropped and made again: it takes a quarter of the time."""

MODES = ["force_custom_plan", "force_generic_plan"]
PAGE = 50


def named(n: int) -> UUID:
    """The id of the n-th of anything."""
    return UUID(f"{n:032}")


MEMBER = named(7)
"""A member of three workspaces."""
EVERYWHERE = named(1001)
"""A member of all workspaces."""
WORKSPACE = named(7)
"""Half of all tasks are here, in the database where they are not spread evenly."""


@asynccontextmanager
async def loaded(
    projects: Cluster, *, tasks: int, at_once: int, skewed: bool
) -> AsyncIterator[Database]:
    """A project with that many tasks, in which nobody commits afterwards."""
    async with projects.database(template=Defaults.CLOSED, owner=OWNER) as database:
        async with database.connect() as connection:
            # Without the triggers: what they do is tested elsewhere.
            await connection.execute("set session_replication_role = replica")
            await connection.execute("set maintenance_work_mem = '256MB'")
            # An analyze of its own would choose the moment by itself.
            await connection.execute("alter table tasks set (autovacuum_enabled = off)")
            await connection.execute(PEOPLE)
            indexes = await connection.fetch(INDEXES)
            for index in indexes:
                await connection.execute(index["removal"])
            await connection.execute(
                TASKS.format(tasks=tasks, at_once=at_once, skewed=skewed), timeout=120
            )
            for index in indexes:
                await connection.execute(index["making"])
            await connection.execute("vacuum analyze")
        yield database


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def even_database(projects: Cluster) -> AsyncIterator[Database]:
    """A million tasks, a thousand in each workspace."""
    async with loaded(projects, tasks=1_000_000, at_once=1, skewed=False) as database:
        yield database


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def skewed_database(projects: Cluster) -> AsyncIterator[Database]:
    """A hundred thousand tasks, half of them in one workspace."""
    async with loaded(projects, tasks=100_000, at_once=2_000, skewed=True) as database:
        yield database


@asynccontextmanager
async def rolled_back(database: Database) -> AsyncIterator[World]:
    """A transaction that is rolled back in the end."""
    async with World.on(database, jit="off") as world, world.savepoint():
        yield world


@pytest.fixture
async def even(even_database: Database) -> AsyncIterator[World]:
    async with rolled_back(even_database) as world:
        yield world


@pytest.fixture
async def skewed(skewed_database: Database) -> AsyncIterator[World]:
    async with rolled_back(skewed_database) as world:
        yield world


@pytest.fixture(params=["even", "skewed"])
def large(request: pytest.FixtureRequest) -> World:
    """One database, then the other."""
    world: World = request.getfixturevalue(request.param)
    return world


# Reading ----------------------------------------------------------------------------------------

FIRST = "select * from tasks where workspace_id = $1 order by created_at desc"
NEXT = (
    "select * from tasks where workspace_id = $1 and (created_at, id) < ($2, $3)"
    " order by created_at desc, id desc"
)


@pytest.mark.matrix
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("person", [MEMBER, EVERYWHERE], ids=["of three", "of all"])
@pytest.mark.parametrize("order", ["created_at desc", "created_at desc, id desc"])
async def test_a_first_page_reads_its_range_of_the_index(
    large: World, order: str, person: UUID, mode: str
) -> None:
    query = f"select * from tasks where workspace_id = $1 order by {order} limit {PAGE}"

    plan = await explained(large, person, mode, query, WORKSPACE)

    assert_reads_a_range(plan)


@pytest.mark.matrix
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("after", [PAGE, 5 * PAGE], ids=["second", "sixth"])
async def test_a_next_page_reads_its_range_of_the_index(
    large: World, after: int, mode: str
) -> None:
    [last] = await large.rows(
        "select created_at::text, id from tasks where workspace_id = $1"
        " order by created_at desc, id desc offset $2 limit 1",
        WORKSPACE,
        after - 1,
    )

    plan = await explained(large, MEMBER, mode, f"{NEXT} limit {PAGE}", WORKSPACE, *last)

    assert_reads_a_range(plan)


async def test_pages_meet_without_a_gap(skewed: World) -> None:
    async with acting(skewed.connection, "authenticated", MEMBER):
        at_once = await skewed.rows(
            "select id from tasks where workspace_id = $1"
            " order by created_at desc, id desc limit $2",
            WORKSPACE,
            3 * PAGE,
        )
        last = (await skewed.value("select timestamptz 'infinity'"), named(0))
        paged: list[asyncpg.Record] = []
        for _ in range(3):
            page = await skewed.rows(f"{NEXT} limit {PAGE}", WORKSPACE, *last)
            last = (page[-1]["created_at"], page[-1]["id"])
            paged += page

    assert [row["id"] for row in paged] == [row["id"] for row in at_once]


@pytest.mark.matrix
@pytest.mark.parametrize("mode", MODES)
async def test_a_page_of_each_of_my_workspaces_reads_a_range_for_each(
    large: World, mode: str
) -> None:
    """As the API asks for tasks embedded in workspaces, with a limit."""
    plan = await explained(
        large,
        MEMBER,
        mode,
        "select w.id, t.* from workspaces w, lateral ("
        " select * from tasks t where t.workspace_id = w.id"
        f" order by t.created_at desc, t.id desc limit {PAGE}) t",
    )

    assert types_of_scans(plan) == {"Index Scan"}
    assert rows_of_tasks(plan) <= 3 * (PAGE + 1), summary(plan)


@pytest.mark.matrix
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("query", "values", "most"),
    [
        ("select * from tasks order by created_at desc, id desc limit 50", (), 3_000),
        ("select count(*) from tasks", (), 3_000),
        ("select count(*) from tasks where workspace_id = $1", (WORKSPACE,), 1_000),
        (f"{FIRST.replace('order', 'and status = $2 order')} limit 50", (WORKSPACE, "done"), 1_000),
        (
            "select status, count(*) from tasks where workspace_id = $1 group by 1",
            (WORKSPACE,),
            1_000,
        ),
        ("select * from tasks where assignee_id = $1 order by due_date limit 50", (MEMBER,), 334),
        (
            "select * from tasks where workspace_id = $1 and assignee_id = $2",
            (WORKSPACE, MEMBER),
            334,
        ),
        (
            "select * from tasks where workspace_id = $1 and client_id = $2 limit 500",
            (WORKSPACE, named(6)),
            100,
        ),
        ("select * from tasks where client_id = $1", (named(6),), 100),
        ("select * from tasks where id = $1", (named(6),), 1),
        ("select * from tasks where handoff_id = $1", (named(1_000),), 1),
    ],
)
async def test_a_question_reads_no_more_of_the_tasks_than_it_is_about(
    even: World, query: str, values: tuple[UUID | str, ...], most: int, mode: str
) -> None:
    plan = await explained(even, MEMBER, mode, query, *values)

    assert "Seq Scan" not in types_of_scans(plan)
    assert rows_of_tasks(plan) <= most, summary(plan)
    assert blocks(plan) <= most + 100


@pytest.mark.matrix
@pytest.mark.parametrize("table", ["workspaces", "workspace_members", "clients"])
async def test_the_other_tables_can_be_read_by_index(even: World, table: str) -> None:
    """They are small here: whether their indexes are worth it is the planner's to say."""
    await even.execute("set local enable_seqscan = off")

    plan = await explained(even, MEMBER, MODES[1], f"select * from {table}")

    assert [node["Node Type"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"] == []
    assert blocks(plan) <= 60


# Writing ----------------------------------------------------------------------------------------


@pytest.mark.matrix
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("write", "values"),
    [
        (
            "insert into tasks (workspace_id, client_id, assignee_id, title)"
            " values ($1, $2, $3, 'new')",
            (WORKSPACE, named(6), MEMBER),
        ),
        ("update tasks set status = 'done', priority = 'low' where id = $1", (named(6),)),
        ("update tasks set assignee_id = $2, client_id = null where id = $1", (named(6), MEMBER)),
        ("delete from tasks where id = $1", (named(6),)),
    ],
)
async def test_a_write_of_one_task_touches_a_few_blocks(
    even: World, write: str, values: tuple[UUID, ...], mode: str
) -> None:
    before = await read_so_far(even)
    plan = await explained(even, MEMBER, mode, write, *values)
    reads = await read_so_far(even) - before

    assert plan["Node Type"] == "ModifyTable"
    assert blocks(plan) <= 80
    # Twice: once to warm up. What the foreign keys read is in here only.
    assert (reads.in_sequence, reads.by_index <= 60) == (0, True), reads


@pytest.mark.matrix
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("removal", "rows"),
    [
        ("delete from workspaces where id = $1", 1_000),
        ("delete from workspace_members where workspace_id = $1 and user_id <> $1", 3),
        ("delete from clients where workspace_id = $1", 1_000),
    ],
)
async def test_a_removal_follows_its_foreign_keys_by_index(
    even: World, removal: str, rows: int, mode: str
) -> None:
    before = await read_so_far(even)
    async with acting(even.connection, "authenticated", MEMBER):
        await even.execute(f"set local plan_cache_mode = {mode}")
        assert await even.execute(removal, WORKSPACE) != "DELETE 0"
    reads = await read_so_far(even) - before

    assert reads.in_sequence == 0
    assert rows <= reads.by_index <= 2 * rows + 100


@pytest.mark.matrix
@pytest.mark.parametrize("mode", MODES)
async def test_an_account_is_deleted_by_index(even: World, mode: str) -> None:
    await even.execute(f"set local plan_cache_mode = {mode}")
    before = await read_so_far(even)

    await even.execute("delete from auth.users where id = $1", EVERYWHERE)

    reads = await read_so_far(even) - before
    assert (reads.in_sequence, reads.by_index < 10_000) == (0, True), reads


@pytest.mark.matrix
@pytest.mark.parametrize("mode", MODES)
async def test_a_task_that_follows_its_handoff_is_found_by_it(even: World, mode: str) -> None:
    ada = await even.agent("ada")
    await even.execute("insert into workspace_agents values ($1, 'ada')", WORKSPACE)
    await even.execute("set local plan_cache_mode = " + mode)
    before = await read_so_far(even)
    [handoff] = await even.rows("select handoff_id from hand_off_task($1, 'ada')", named(6))
    await even.dispatch("ada")
    await even.accept(handoff[0], 1, ada)
    await even.complete(handoff[0], 1, ada)

    reads = await read_so_far(even) - before
    assert await even.value("select status from tasks where id = $1", named(6)) == "review"
    assert (reads.in_sequence, reads.by_index <= 20) == (0, True), reads


# How it is measured -----------------------------------------------------------------------------


async def explained(
    world: World, person: UUID, mode: str, query: str, *values: object
) -> dict[str, Any]:
    """Prepare the query as the person, run it twice, and return the second run's plan."""
    literals = ", ".join(f"'{value}'" for value in values)
    given = f"({literals})" if values else ""
    async with acting(world.connection, "authenticated", person):
        await world.execute(f"set local plan_cache_mode = {mode}")
        await world.execute(f"prepare asked as {query}")
        for _ in range(2):
            # The first run fills the caches, whose misses would be counted.
            async with undone(world.connection):
                told = await world.value(
                    f"explain (analyze, buffers, timing off, format json) execute asked{given}"
                )
        await world.execute("deallocate asked")
    [plan] = told if isinstance(told, list) else json.loads(told)
    found: dict[str, Any] = plan["Plan"]
    return found


@asynccontextmanager
async def undone(connection: Connection) -> AsyncIterator[None]:
    """A savepoint that is rolled back in the end."""
    savepoint = connection.transaction()
    await savepoint.start()
    try:
        yield
    finally:
        await savepoint.rollback()


def assert_reads_a_range(plan: dict[str, Any]) -> None:
    """A page and one row more at most, in the index's order, nothing in vain."""
    assert [
        (node["Node Type"], node["Index Name"], node.get("Rows Removed by Filter", 0))
        for node in nodes(plan)
        if node.get("Relation Name") == "tasks"
    ] == [("Index Scan", "tasks_by_age", 0)], summary(plan)
    assert rows_of_tasks(plan) <= PAGE + 1, summary(plan)
    assert blocks(plan) <= PAGE + 40


def types_of_scans(plan: dict[str, Any]) -> set[str]:
    """How the tasks are read."""
    return {node["Node Type"] for node in nodes(plan) if node.get("Relation Name") == "tasks"}


def rows_of_tasks(plan: dict[str, Any]) -> int:
    """How many tasks were read, those that were thrown away included."""
    return sum(
        rows_read(node)
        for node in nodes(plan)
        if node.get("Relation Name") == "tasks" and node["Node Type"] != "ModifyTable"
    )


def blocks(plan: dict[str, Any]) -> int:
    """How many blocks were touched, in memory or not; without those of foreign keys."""
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@dataclass(frozen=True, slots=True)
class Reads:
    """How many rows of the large tables a transaction has read."""

    in_sequence: int
    by_index: int

    def __sub__(self, before: "Reads") -> "Reads":
        return Reads(self.in_sequence - before.in_sequence, self.by_index - before.by_index)


async def read_so_far(world: World) -> Reads:
    """What this transaction has read until now, by its own counters."""
    [row] = await world.rows(
        "select sum(seq_tup_read)::bigint, sum(idx_tup_fetch)::bigint"
        " from pg_stat_xact_user_tables where relid = any ($1::text[]::regclass[])",
        ["tasks", "clients", "workspace_members", "workspaces", "public.users"],
    )
    return Reads(*row)
