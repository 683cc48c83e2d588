-- Take back attempts past their own time limit. Answers how many.
-- The holder is locked as well, and what is locked is skipped: a sweep never waits for anybody.
with timed_out as (
  select h.id
  from public.handoffs h
  join public.agent_status a on a.agent_name = h.assigned_agent
  where h.status = 'in_progress'
    and h.attempt_ends_at <= now()
  order by h.attempt_ends_at
  limit :batch::bigint
  for no key update of h, a skip locked
)
select coordination.take_back(array(select t.id from timed_out t), 'timed_out')
