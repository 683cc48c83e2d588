-- Push unaccepted handoffs to their agents once more: those that passed half of :accept_timeout since :since,
-- the time of the last look. Answers how many.
select count(pg_notify(
  public.agent_channel(h.assigned_agent),
  jsonb_build_object('event', 'dispatched', 'handoff_id', h.id, 'attempt', h.attempt)::text) is null)::integer
from public.handoffs h
where h.status = 'in_progress'
  and h.accepted_at is null
  and h.held_by is not null
  and h.dispatched_at <= now() - :accept_timeout::interval / 2
  and h.dispatched_at > :since::timestamptz - :accept_timeout::interval / 2
