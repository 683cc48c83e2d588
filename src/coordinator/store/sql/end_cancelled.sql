-- End as cancelled what was asked to stop and stayed silent for :cancel_grace. Answers how many.
-- The holder is locked as well, and what is locked is skipped: a sweep never waits for anybody.
with silent as (
  select h.id
  from public.handoffs h
  join public.agent_status a on a.agent_name = h.assigned_agent
  where h.status = 'in_progress'
    and h.cancel_requested
    and h.cancel_requested_at <= now() - :cancel_grace::interval
  order by h.cancel_requested_at
  limit :batch::bigint
  for no key update of h, a skip locked
)
select coordination.end_handoffs(array(select s.id from silent s), 'cancelled', 'cancel_grace')
