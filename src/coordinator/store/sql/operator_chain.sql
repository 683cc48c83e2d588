-- The handoffs that began with :root_id, in the order of their arrival. No row: all of them were deleted.
select h.id, h.from_agent, h.to_agent, h.task_description, h.status, h.outcome, h.due, h.context, h.result, h.last_error,
  h.end_reason, h.assigned_agent, h.held_by, h.attempt, h.max_attempts, h.retries, h.priority, h.created_at,
  h.available_at, h.dispatched_at, h.accepted_at, h.finished_at, h.deadline_at,
  extract(epoch from h.timeout)::float8 as timeout_s, h.attempt_ends_at,
  h.idempotency_key, h.parent_id, h.root_id, h.hop, h.cancel_requested, h.traceparent,
  extract(epoch from now() - h.created_at)::float8 as age_s
from public.handoffs h
where h.id = :root_id::uuid
  or (h.root_id = :root_id::uuid and h.parent_id is not null)
order by h.position
