-- Take up what an agent holds; refused (ZH001) where it is taken back meanwhile. No row: it holds nothing.
select
  a.id, a.from_agent, a.to_agent, a.task_description, a.status, a.context, a.created_at, a.outcome, a.position,
  a.assigned_agent, a.held_by, a.attempt, a.max_attempts, a.retries, a.priority, a.available_at, a.dispatched_at,
  a.accepted_at, a.finished_at, a.deadline_at, a.timeout, a.attempt_ends_at, a.result, a.last_error, a.end_reason,
  a.idempotency_key, a.parent_id, a.root_id, a.hop, a.cancel_requested, a.traceparent
from held_handoff(agent_name => :agent_name::text, incarnation => :incarnation::uuid) h
cross join lateral accept_handoff(
  handoff_id => h.id,
  attempt => h.attempt,
  agent_name => :agent_name::text,
  incarnation => :incarnation::uuid
) a
