-- The coordination tables: agents, handoffs (the queue), events (the audit trail), settings.
-- Constraint names say which field is wrong and what would be right, since plain SQL shows nothing else.

create schema coordination;
comment on schema coordination is
  'Private half of the agent coordinator: trigger functions, leadership, the log cursor. Not for clients.';

create table public.coordination_settings (
  one_row boolean constraint coordination_settings_pkey primary key default true
    constraint coordination_settings_has_one_row check (one_row),
  max_hops integer not null default 32
    constraint max_hops_must_be_1_to_1000 check (max_hops between 1 and 1000),
  max_content_bytes integer not null default 1048576
    constraint max_content_bytes_must_be_positive check (max_content_bytes > 0),
  retry_delay interval not null default '1 second'
    constraint retry_delay_must_not_be_negative check (retry_delay >= interval '0'),
  max_retry_delay interval not null default '5 minutes'
    constraint max_retry_delay_must_not_be_below_retry_delay check (max_retry_delay >= retry_delay)
);
insert into public.coordination_settings default values;
comment on table public.coordination_settings is 'The limits that triggers need; one row.';
comment on column public.coordination_settings.max_hops is
  'How many handoffs may follow from one another; a further one is refused.';
comment on column public.coordination_settings.max_content_bytes is
  'Size limit of a task text, a context and a result, each, in bytes as PostgreSQL prints them.';
comment on column public.coordination_settings.retry_delay is
  'Pause after a first failure; it doubles with every attempt, with jitter.';
comment on column public.coordination_settings.max_retry_delay is
  'Ceiling of the pause after a failure.';

create table public.agent_status (
  id uuid constraint agent_status_pkey primary key default gen_random_uuid(),
  agent_name text not null constraint agent_status_agent_name_key unique,
  status text not null default 'idle',
  current_task text,
  last_seen timestamptz not null default now(),
  metadata jsonb not null default '{}',
  blocked_reason text,
  roles text[] not null default '{}',
  incarnation uuid,
  current_handoff uuid,
  status_since timestamptz not null default now(),
  registered_at timestamptz not null default now(),
  constraint agent_name_must_be_1_to_128_printable_characters
    check (agent_name ~ '^[^[:cntrl:]]{1,128}$' and agent_name = btrim(agent_name)),
  constraint agent_status_must_be_idle_working_or_blocked
    check (status in ('idle', 'working', 'blocked')),
  constraint blocked_reason_exactly_when_blocked
    check ((status = 'blocked') = (blocked_reason is not null)),
  constraint blocked_reason_must_be_1_to_500_characters
    check (char_length(blocked_reason) between 1 and 500),
  constraint idle_agent_holds_nothing
    check (status <> 'idle' or current_handoff is null),
  constraint roles_must_be_at_most_32_names_of_1_to_128_printable_characters
    check (
      cardinality(roles) <= 32
      and array_position(roles, null) is null
      and '' <> all (roles)
      -- Joined by a newline, so that every line must be one good name; a newline inside a role is found by the count.
      and (roles = '{}' or array_to_string(roles, e'\n') ~ '^([^[:cntrl:] ]([^[:cntrl:]]{0,126}[^[:cntrl:] ])?(\n|$))+$')
      and regexp_count(array_to_string(roles, e'\n'), e'\n') = greatest(cardinality(roles) - 1, 0)
    ),
  constraint metadata_must_be_a_json_object
    check (jsonb_typeof(metadata) = 'object'),
  constraint metadata_must_be_at_most_64_kilobytes
    check (pg_column_size(metadata) <= 65536),
  constraint current_task_must_be_at_most_10000_characters
    check (char_length(current_task) <= 10000),
  constraint last_seen_must_be_after_the_year_1
    check (last_seen > timestamptz '0001-01-02 00:00+00')
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- No index holds last_seen: heartbeats stay HOT updates.
create index agent_status_idle_by_role on public.agent_status using gin (roles)
  with (fastupdate = off)
  where status = 'idle' and roles <> '{}';

comment on table public.agent_status is 'One row an agent: what it does, when it was last heard, what it holds.';
comment on column public.agent_status.last_seen is
  'The last heartbeat, by the database''s clock; a value in the future becomes now().';
comment on column public.agent_status.blocked_reason is
  'Why it is blocked: stale (no heartbeat), left, unresponsive (its body did not stop or did not take up its work), or the agent''s own words.';
comment on column public.agent_status.roles is 'Further addresses it answers to, such as reviewer.';
comment on column public.agent_status.incarnation is
  'One life of the agent''s process; null for an agent that only speaks plain SQL.';
comment on column public.agent_status.current_handoff is
  'The handoff it holds. Kept by the triggers on handoffs; nobody else may change it.';

create table public.handoffs (
  id uuid constraint handoffs_pkey primary key default gen_random_uuid(),
  from_agent text not null,
  to_agent text not null,
  task_description text not null,
  status text not null default 'pending',
  context jsonb not null default '{}',
  created_at timestamptz not null default now(),
  outcome text,
  position bigint generated always as identity constraint handoffs_position_key unique,
  assigned_agent text,
  held_by uuid,
  attempt integer not null default 0,
  max_attempts integer not null default 3,
  retries integer not null default 0,
  priority integer not null default 0,
  available_at timestamptz not null default now(),
  due boolean not null default true,
  dispatched_at timestamptz,
  accepted_at timestamptz,
  finished_at timestamptz,
  deadline_at timestamptz,
  timeout interval,
  attempt_ends_at timestamptz,
  result jsonb,
  last_error text,
  end_reason text,
  idempotency_key text,
  parent_id uuid,
  root_id uuid not null,
  hop integer not null default 0,
  cancel_requested boolean not null default false,
  cancel_requested_at timestamptz,
  traceparent text,
  constraint from_agent_must_be_1_to_128_printable_characters
    check (from_agent ~ '^[^[:cntrl:]]{1,128}$' and from_agent = btrim(from_agent)),
  constraint to_agent_must_be_1_to_128_printable_characters
    check (to_agent ~ '^[^[:cntrl:]]{1,128}$' and to_agent = btrim(to_agent)),
  constraint task_description_must_not_be_blank
    check (task_description ~ '\S'),
  constraint handoff_status_must_be_pending_in_progress_or_completed
    check (status in ('pending', 'in_progress', 'completed')),
  constraint context_must_be_a_json_object
    check (jsonb_typeof(context) = 'object'),
  constraint outcome_must_be_succeeded_failed_or_cancelled
    check (outcome in ('succeeded', 'failed', 'cancelled')),
  constraint outcome_exactly_when_completed
    check ((status = 'completed') = (outcome is not null)),
  constraint finished_at_exactly_when_completed
    check ((status = 'completed') = (finished_at is not null)),
  constraint pending_handoff_has_no_holder
    check (status <> 'pending' or (assigned_agent is null and held_by is null
      and dispatched_at is null and accepted_at is null and attempt_ends_at is null and result is null)),
  constraint handoff_in_progress_has_a_holder
    check (status <> 'in_progress' or (assigned_agent is not null and dispatched_at is not null and attempt > 0)),
  constraint completed_handoff_is_held_by_nobody
    check (status <> 'completed' or held_by is null),
  constraint attempt_must_be_0_to_max_attempts
    check (attempt between 0 and max_attempts),
  constraint max_attempts_must_be_1_to_1000000
    check (max_attempts between 1 and 1000000),
  constraint cancel_requested_at_exactly_when_cancel_requested
    check (cancel_requested = (cancel_requested_at is not null)),
  constraint pending_handoff_has_attempts_left
    check (status <> 'pending' or attempt < max_attempts),
  constraint timeout_must_be_positive_and_at_most_10_years
    check (timeout > interval '0' and timeout <= interval '10 years'),
  -- Beyond what every client's calendar knows, and what arithmetic with now() survives.
  constraint available_at_must_be_before_the_year_9999
    check (available_at between timestamptz '0001-01-02 00:00+00' and timestamptz '9999-01-01 00:00+00'),
  constraint deadline_at_must_be_before_the_year_9999
    check (deadline_at between timestamptz '0001-01-02 00:00+00' and timestamptz '9999-01-01 00:00+00'),
  constraint idempotency_key_must_be_1_to_200_characters
    check (char_length(idempotency_key) between 1 and 200),
  constraint traceparent_must_be_a_w3c_trace_context
    check (traceparent ~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$')
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

create unique index one_handoff_in_progress_per_agent on public.handoffs (assigned_agent)
  where status = 'in_progress';
create unique index handoffs_idempotency_key on public.handoffs (from_agent, idempotency_key)
  where idempotency_key is not null;
-- What dispatch reads, in the order of an address. Work not yet due stays out of it.
create index handoffs_due on public.handoffs (to_agent, priority desc, position)
  where status = 'pending' and due;
create index handoffs_delayed on public.handoffs (available_at)
  where status = 'pending' and not due;
create index handoffs_with_deadline on public.handoffs (deadline_at)
  where status <> 'completed' and deadline_at is not null;
create index handoffs_unaccepted on public.handoffs (dispatched_at)
  where status = 'in_progress' and accepted_at is null and held_by is not null;
create index handoffs_with_time_limit on public.handoffs (attempt_ends_at)
  where status = 'in_progress' and attempt_ends_at is not null;
create index handoffs_to_cancel on public.handoffs (cancel_requested_at)
  where status = 'in_progress' and cancel_requested;
create index handoffs_children on public.handoffs (root_id)
  where parent_id is not null;

comment on table public.handoffs is 'The queue: tasks that one agent hands to another.';
comment on column public.handoffs.to_agent is 'An address: an agent''s name or a role.';
comment on column public.handoffs.status is
  'Where in its life it is: pending, in_progress, completed. outcome says how it ended.';
comment on column public.handoffs.attempt is
  'Dispatches so far, never lowered. With the agent and its incarnation it is the fencing token.';
comment on column public.handoffs.max_attempts is
  'The attempt that is the last one; retry_handoff raises it by a new budget.';
comment on column public.handoffs.held_by is 'The holder''s incarnation, copied at dispatch; null once settled.';
comment on column public.handoffs.available_at is 'Not to be dispatched before.';
comment on column public.handoffs.due is 'Whether available_at has come; the coordinator sets it.';
comment on column public.handoffs.timeout is
  'Limit of one attempt, from accept (from dispatch for a plain-SQL agent); kept as attempt_ends_at.';
comment on column public.handoffs.deadline_at is 'Past it, in any state, it is completed as failed.';
comment on column public.handoffs.end_reason is
  'What ended the last attempt: settled, failed, cancelled, lapsed, unaccepted, timed_out, cancel_grace, deadline, replaced, left.';
comment on column public.handoffs.hop is 'How many handoffs precede it in its chain; computed.';

create table public.coordination_events (
  sequence bigint generated always as identity constraint coordination_events_pkey primary key,
  xid xid8 not null default pg_current_xact_id(),
  occurred_at timestamptz not null default clock_timestamp(),
  handoff_id uuid,
  attempt integer,
  event text not null
    constraint event_must_be_a_dotted_name check (event ~ '^(handoff|agent)\.[a-z_]+$'),
  agent text,
  by_user text not null default session_user,
  by_application text not null default coalesce(current_setting('application_name', true), ''),
  detail jsonb not null default '{}'
);
create index coordination_events_by_transaction on public.coordination_events (xid);
create index coordination_events_of_handoff on public.coordination_events (handoff_id, sequence)
  where handoff_id is not null;
create index coordination_events_of_agent on public.coordination_events (agent, sequence)
  where handoff_id is null;
comment on table public.coordination_events is
  'Every transition of a handoff and of an agent, append only, written by triggers in the same transaction.';
comment on column public.coordination_events.sequence is
  'Its number: the order in which transitions of one handoff happened. Gaps are rolled back transactions.';

create table coordination.leadership (
  one_row boolean constraint leadership_pkey primary key default true
    constraint leadership_has_one_row check (one_row),
  term bigint not null default 0,
  leader uuid,
  backend_pid integer,
  renewed_at timestamptz
);
insert into coordination.leadership default values;
comment on table coordination.leadership is
  'Who leads, in which term, and when a pass last succeeded. Safety never rests on it.';

create table coordination.tail_cursor (
  one_row boolean constraint tail_cursor_pkey primary key default true
    constraint tail_cursor_has_one_row check (one_row),
  system_identifier bigint,
  seen pg_snapshot,
  target pg_snapshot,
  logged bigint not null default 0,
  highest bigint not null default 0,
  floor bigint not null default 0
);
insert into coordination.tail_cursor default values;
comment on table coordination.tail_cursor is
  'How far the log has got: all that seen could see is logged, and of what target adds, all up to logged. Events up to floor came with a dump.';

create table coordination.migrations (
  version text constraint migrations_pkey primary key,
  name text not null,
  checksum text not null,
  applied_at timestamptz not null default now()
);
comment on table coordination.migrations is
  'Checksums of the migrations that coordinator migrate applied or adopted.';
