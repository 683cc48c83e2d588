-- Complete as failed what is past its deadline, in any state. Answers how many.
-- The holder is locked as well, and what is locked is skipped: a sweep never waits for anybody.
with overdue as materialized (
  select h.id, h.assigned_agent
  from public.handoffs h
  where h.status <> 'completed'
    and h.deadline_at <= now()
  order by h.deadline_at
  limit :batch::bigint
  for no key update skip locked
), holders as materialized (
  select a.agent_name
  from public.agent_status a
  where a.agent_name = any (array(select o.assigned_agent from overdue o where o.assigned_agent is not null))
  for no key update skip locked
)
select coordination.end_handoffs(
  array(
    select o.id
    from overdue o
    where o.assigned_agent is null
      or o.assigned_agent in (select h.agent_name from holders h)
  ),
  'failed',
  'deadline')
