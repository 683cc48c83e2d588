-- Take up what each of these agents holds, or (with a token) one attempt, in one transaction; one that no longer stands
-- refuses them all. A row of nulls: this agent holds nothing. No row for an agent: ask it alone, since it holds another
-- attempt than the one given, or since the answer would pass :most_bytes.
with brief as materialized (
  select set_config('lock_timeout', :lock_within::text, true) as within
), held as materialized (
  select i.nth, i.agent_name, i.incarnation, h.id, h.attempt,
    -- As they are stored, and without the row's own: the first one is always taken.
    sum(pg_column_size(h.context) + pg_column_size(h.task_description))
      over (order by i.nth rows between unbounded preceding and 1 preceding) as bytes_before
  from brief
  cross join unnest(:agent_name::text[], :incarnation::uuid[], :handoff_id::uuid[], :attempt::integer[])
    with ordinality as i (agent_name, incarnation, handoff_id, attempt, nth)
  left join lateral held_handoff(agent_name => i.agent_name, incarnation => i.incarnation) h on true
  where i.handoff_id is null
    or (h.id, h.attempt) = (i.handoff_id, i.attempt)
  order by h.id
), taken_up as materialized (
  select
    held.nth,
    a.id, a.from_agent, a.to_agent, a.task_description, a.status, a.context, a.created_at, a.outcome, a.position,
    a.assigned_agent, a.held_by, a.attempt, a.max_attempts, a.retries, a.priority, a.available_at, a.dispatched_at,
    a.accepted_at, a.finished_at, a.deadline_at, a.timeout, a.attempt_ends_at, a.result, a.last_error, a.end_reason,
    a.idempotency_key, a.parent_id, a.root_id, a.hop, a.cancel_requested, a.traceparent
  from held
  cross join lateral accept_handoff(
    handoff_id => held.id,
    attempt => held.attempt,
    agent_name => held.agent_name,
    incarnation => held.incarnation
  ) a
  where held.id is not null
    and coalesce(held.bytes_before, 0) < :most_bytes::bigint
)
select
  held.nth,
  t.id, t.from_agent, t.to_agent, t.task_description, t.status, t.context, t.created_at, t.outcome, t.position,
  t.assigned_agent, t.held_by, t.attempt, t.max_attempts, t.retries, t.priority, t.available_at, t.dispatched_at,
  t.accepted_at, t.finished_at, t.deadline_at, t.timeout, t.attempt_ends_at, t.result, t.last_error, t.end_reason,
  t.idempotency_key, t.parent_id, t.root_id, t.hop, t.cancel_requested, t.traceparent
from held
left join taken_up t on t.nth = held.nth
where held.id is null
  or t.nth is not null
