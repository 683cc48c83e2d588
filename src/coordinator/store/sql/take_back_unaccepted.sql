-- Take back what a registered agent has not accepted within :accept_timeout. Answers how many.
-- The holder is locked as well, and what is locked is skipped: a sweep never waits for anybody.
with unaccepted as (
  select h.id
  from public.handoffs h
  join public.agent_status a on a.agent_name = h.assigned_agent
  where h.status = 'in_progress'
    and h.accepted_at is null
    and h.held_by is not null
    and h.dispatched_at <= now() - :accept_timeout::interval
  order by h.dispatched_at
  limit :batch::bigint
  for no key update of h, a skip locked
)
select coordination.take_back(array(select u.id from unaccepted u), 'unaccepted')
