-- Take up an attempt; refused (ZH001) where it no longer stands. Always one row: the handoff.
select
  h.id, h.from_agent, h.to_agent, h.task_description, h.status, h.context, h.created_at, h.outcome, h.position,
  h.assigned_agent, h.held_by, h.attempt, h.max_attempts, h.retries, h.priority, h.available_at, h.dispatched_at,
  h.accepted_at, h.finished_at, h.deadline_at, h.timeout, h.attempt_ends_at, h.result, h.last_error, h.end_reason,
  h.idempotency_key, h.parent_id, h.root_id, h.hop, h.cancel_requested, h.traceparent
from accept_handoff(
  handoff_id => :handoff_id::uuid,
  attempt => :attempt::integer,
  agent_name => :agent_name::text,
  incarnation => :incarnation::uuid
) h
