-- What each of these agents holds now. A row of nulls: nothing, or another life of it does. No row for an agent: ask it
-- alone, since the answer would pass :most_bytes.
with held as materialized (
  select
    i.nth,
    h.id, h.from_agent, h.to_agent, h.task_description, h.status, h.context, h.created_at, h.outcome, h.position,
    h.assigned_agent, h.held_by, h.attempt, h.max_attempts, h.retries, h.priority, h.available_at, h.dispatched_at,
    h.accepted_at, h.finished_at, h.deadline_at, h.timeout, h.attempt_ends_at, h.result, h.last_error, h.end_reason,
    h.idempotency_key, h.parent_id, h.root_id, h.hop, h.cancel_requested, h.traceparent,
    sum(pg_column_size(h.context) + pg_column_size(h.task_description))
      over (order by i.nth rows between unbounded preceding and 1 preceding) as bytes_before
  from unnest(:agent_name::text[], :incarnation::uuid[]) with ordinality as i (agent_name, incarnation, nth)
  left join lateral held_handoff(agent_name => i.agent_name, incarnation => i.incarnation) h on true
)
select
  h.nth,
  h.id, h.from_agent, h.to_agent, h.task_description, h.status, h.context, h.created_at, h.outcome, h.position,
  h.assigned_agent, h.held_by, h.attempt, h.max_attempts, h.retries, h.priority, h.available_at, h.dispatched_at,
  h.accepted_at, h.finished_at, h.deadline_at, h.timeout, h.attempt_ends_at, h.result, h.last_error, h.end_reason,
  h.idempotency_key, h.parent_id, h.root_id, h.hop, h.cancel_requested, h.traceparent
from held h
where coalesce(h.bytes_before, 0) < :most_bytes::bigint
