-- Complete as failed what is past its deadline, in any state. Answers how many.
with overdue as (
  select h.id
  from public.handoffs h
  where h.status <> 'completed'
    and h.deadline_at <= now()
  order by h.deadline_at
  limit :batch::bigint
  for no key update skip locked
)
select coordination.end_handoffs(array(select o.id from overdue o), 'failed', 'deadline')
