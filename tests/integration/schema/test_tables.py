"""Each constraint by itself: the triggers are off, so that nothing else can refuse.

Whoever gets past the triggers, by a defect or as the owner, still meets these.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg
import pytest

from tests.integration.schema.world import World

TABLES = (
    "public.agent_status",
    "public.handoffs",
    "public.coordination_events",
    "public.coordination_settings",
    "coordination.agent_logins",
    "coordination.leadership",
    "coordination.tail_cursor",
    "coordination.migrations",
)

ROWS = """
set local session_replication_role = replica;
insert into agent_status (agent_name) values ('ada');
insert into handoffs (id, root_id, from_agent, to_agent, task_description, status, attempt,
  assigned_agent, dispatched_at, outcome, finished_at, idempotency_key)
select i.id, i.id, 'eve', 'ada', 'do it', i.status, i.attempt, i.holder,
  case when i.holder is not null then now() end, i.outcome,
  case when i.outcome is not null then now() end, i.status
from (values
  (gen_random_uuid(), 'pending', 0, null, null),
  (gen_random_uuid(), 'in_progress', 1, 'ada', null),
  (gen_random_uuid(), 'completed', 1, 'ada', 'succeeded')
) as i (id, status, attempt, holder, outcome);
insert into coordination_events (event) values ('handoff.queued');
insert into coordination.migrations (version, name, checksum) values ('1', 'one', 'x');
insert into coordination.agent_logins (login, agent_name) values ('agent_ada', 'ada');
"""


@dataclass(frozen=True, slots=True)
class Handoff:
    """A change of the handoff in a status that one constraint forbids."""

    status: str
    change: str

    @property
    def sql(self) -> str:
        """The statement to be refused."""
        return f"update handoffs set {self.change} where status = '{self.status}'"


def agent(change: str) -> str:
    """A change of the idle agent that one constraint forbids."""
    return f"update agent_status set {change}"


def setting(change: str) -> str:
    """A change of a setting that one constraint forbids."""
    return f"update coordination_settings set {change}"


FORBIDDEN: Mapping[str, Handoff | str] = {
    "from_agent_must_be_1_to_128_printable_characters": Handoff("pending", "from_agent = ''"),
    "to_agent_must_be_1_to_128_printable_characters": Handoff("pending", "to_agent = ' ada'"),
    "task_description_must_not_be_blank": Handoff("pending", "task_description = ' '"),
    "handoff_status_must_be_pending_in_progress_or_completed": Handoff(
        "pending", "status = 'asleep'"
    ),
    "context_must_be_a_json_object": Handoff("pending", "context = '[]'"),
    "outcome_must_be_succeeded_failed_or_cancelled": Handoff("completed", "outcome = 'so so'"),
    "outcome_exactly_when_completed": Handoff("pending", "outcome = 'failed'"),
    "finished_at_exactly_when_completed": Handoff("completed", "finished_at = null"),
    "pending_handoff_has_no_holder": Handoff("pending", "assigned_agent = 'ada'"),
    "pending_handoff_has_attempts_left": Handoff("pending", "attempt = max_attempts"),
    "handoff_in_progress_has_a_holder": Handoff("in_progress", "assigned_agent = null"),
    "completed_handoff_is_held_by_nobody": Handoff("completed", "held_by = gen_random_uuid()"),
    "attempt_must_be_0_to_max_attempts": Handoff("in_progress", "attempt = max_attempts + 1"),
    "max_attempts_must_be_1_to_1000000": Handoff("pending", "max_attempts = 1000001"),
    "cancel_requested_at_exactly_when_cancel_requested": Handoff(
        "in_progress", "cancel_requested = true"
    ),
    "metadata_must_be_at_most_64_kilobytes": agent(
        "metadata = jsonb_build_object('k', repeat('x', 70000))"
    ),
    "current_task_must_be_at_most_10000_characters": agent("current_task = repeat('x', 10001)"),
    "last_seen_must_be_after_the_year_1": agent("last_seen = '-infinity'"),
    "timeout_must_be_positive_and_at_most_10_years": Handoff("pending", "timeout = '0'"),
    "available_at_must_be_before_the_year_9999": Handoff("pending", "available_at = 'infinity'"),
    "deadline_at_must_be_before_the_year_9999": Handoff("pending", "deadline_at = 'infinity'"),
    "idempotency_key_must_be_1_to_200_characters": Handoff("pending", "idempotency_key = ''"),
    "traceparent_must_be_a_w3c_trace_context": Handoff("pending", "traceparent = '00-abc'"),
    "handoffs_pkey": Handoff("pending", "id = (select id from handoffs where attempt = 1 limit 1)"),
    "handoffs_position_key": (
        "insert into handoffs (root_id, from_agent, to_agent, task_description, position)"
        " overriding system value"
        " select root_id, from_agent, to_agent, task_description, position from handoffs"
    ),
    "one_handoff_in_progress_per_agent": (
        "insert into handoffs (root_id, from_agent, to_agent, task_description, status,"
        " assigned_agent, attempt, dispatched_at)"
        " select root_id, from_agent, to_agent, task_description, status,"
        " assigned_agent, attempt, dispatched_at from handoffs where status = 'in_progress'"
    ),
    "handoffs_idempotency_key": Handoff("pending", "idempotency_key = 'completed'"),
    "agent_name_must_be_1_to_128_printable_characters": agent("agent_name = e'a\\nb'"),
    "agent_status_must_be_idle_working_or_blocked": agent("status = 'asleep'"),
    "blocked_reason_exactly_when_blocked": agent("status = 'blocked'"),
    "blocked_reason_must_be_1_to_500_characters": agent("status = 'blocked', blocked_reason = ''"),
    "idle_agent_holds_nothing": agent("current_handoff = gen_random_uuid()"),
    "roles_must_be_at_most_32_names_of_1_to_128_printable_characters": agent(
        "roles = array['a', null]"
    ),
    "metadata_must_be_a_json_object": agent("metadata = '[]'"),
    "agent_status_pkey": (
        "insert into agent_status (id, agent_name) select id, 'bob' from agent_status"
    ),
    "agent_status_agent_name_key": "insert into agent_status (agent_name) values ('ada')",
    "coordination_settings_has_one_row": (
        "insert into coordination_settings (one_row) values (false)"
    ),
    "coordination_settings_pkey": "insert into coordination_settings default values",
    "max_hops_must_be_1_to_1000": setting("max_hops = 0"),
    "max_content_bytes_must_be_positive": setting("max_content_bytes = 0"),
    "retry_delay_must_not_be_negative": setting(
        "retry_delay = interval '-1 second', max_retry_delay = interval '0'"
    ),
    "max_retry_delay_must_not_be_below_retry_delay": setting("max_retry_delay = interval '0'"),
    "coordination_events_pkey": (
        "insert into coordination_events (sequence, event) overriding system value"
        " select sequence, event from coordination_events"
    ),
    "event_must_be_a_dotted_name": "insert into coordination_events (event) values ('Nothing')",
    "agent_logins_pkey": (
        "insert into coordination.agent_logins (login, agent_name) values ('agent_ada', 'bob')"
    ),
    "bound_agent_name_must_be_1_to_128_printable_characters": (
        "update coordination.agent_logins set agent_name = ''"
    ),
    "bound_roles_must_not_hold_null": (
        "update coordination.agent_logins set roles = array['a', null]"
    ),
    "leadership_pkey": "insert into coordination.leadership default values",
    "leadership_has_one_row": "insert into coordination.leadership (one_row) values (false)",
    "tail_cursor_pkey": "insert into coordination.tail_cursor default values",
    "tail_cursor_has_one_row": "insert into coordination.tail_cursor (one_row) values (false)",
    "migrations_pkey": (
        "insert into coordination.migrations (version, name, checksum) values ('1', 'x', 'x')"
    ),
}
"""What each constraint and unique index forbids, and no other one does."""


@pytest.mark.matrix
@pytest.mark.parametrize("constraint", FORBIDDEN)
async def test_a_constraint_refuses_what_its_name_says(world: World, constraint: str) -> None:
    await world.execute(ROWS)
    forbidden = FORBIDDEN[constraint]

    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
        await world.execute(forbidden if isinstance(forbidden, str) else forbidden.sql)

    assert getattr(caught.value, "constraint_name", None) == constraint


@pytest.mark.parametrize("constraint", FORBIDDEN)
async def test_without_the_constraint_nothing_refuses(world: World, constraint: str) -> None:
    """The mutation of the test above: with the constraint removed, that test fails."""
    await world.execute(ROWS)
    forbidden = FORBIDDEN[constraint]
    await world.execute(await removal(world, constraint))

    assert await world.execute(forbidden if isinstance(forbidden, str) else forbidden.sql)


async def removal(world: World, constraint: str) -> str:
    """The statement that removes a constraint, or a unique index without one."""
    table = await world.value(
        "select conrelid::regclass::text from pg_constraint where conname = $1", constraint
    )
    if table is None:
        return f"drop index {constraint}"
    return f"alter table {table} drop constraint {constraint}"


async def catalogued(world: World) -> set[str]:
    """The names of all constraints and unique indexes of our tables."""
    rows = await world.rows(
        "select conname from pg_constraint"
        " where conrelid = any ($1::text[]::regclass[]) and contype in ('p', 'u', 'c', 'x', 'f')"
        " union select indexrelid::regclass::text from pg_index"
        " where indrelid = any ($1::text[]::regclass[]) and indisunique",
        list(TABLES),
    )
    return {row[0].removeprefix("coordination.") for row in rows}


@pytest.mark.matrix
async def test_every_constraint_and_every_unique_index_is_tried(world: World) -> None:
    assert await catalogued(world) == FORBIDDEN.keys()


DEFINITIONS = {
    "trigger": (
        "select tgname, pg_get_triggerdef(oid) from pg_trigger"
        " where tgrelid = any ($1::text[]::regclass[]) and not tgisinternal"
    ),
    "check": (
        "select conname, pg_get_constraintdef(oid) from pg_constraint"
        " where conrelid = any ($1::text[]::regclass[]) and contype = 'c'"
    ),
    "index": (
        "select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index"
        " where indrelid = any ($1::text[]::regclass[]) and not indisunique"
    ),
}


@pytest.mark.matrix
@pytest.mark.parametrize("kind", DEFINITIONS)
async def test_a_definition_reads_back_as_it_was_told(world: World, kind: str) -> None:
    """Else a dump and restore would look like drift."""
    before = await world.rows(DEFINITIONS[kind], list(TABLES))
    for name, definition in before:
        await world.execute(await made_anew(world, kind, name, definition))

    after = await world.rows(DEFINITIONS[kind], list(TABLES))
    assert dict(map(tuple, after)) == dict(map(tuple, before))


async def made_anew(world: World, kind: str, name: str, definition: str) -> str:
    """The statements that drop something and make it again by its own definition."""
    if kind == "index":
        return f"drop index {name}; {definition}"
    if kind == "trigger":
        sql = "select tgrelid::regclass::text from pg_trigger where tgname = $1"
        return f"drop trigger {name} on {await world.value(sql, name)}; {definition}"
    table = await world.value(
        "select conrelid::regclass::text from pg_constraint where conname = $1", name
    )
    return (
        f"alter table {table} drop constraint {name};"
        f" alter table {table} add constraint {name} {definition}"
    )


async def test_every_table_is_known(world: World) -> None:
    rows = await world.rows(
        "select format('%s.%s', n.nspname, c.relname) from pg_class c"
        " join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname in ('public', 'coordination') and c.relkind in ('r', 'p')"
    )

    assert {row[0] for row in rows} == set(TABLES)
