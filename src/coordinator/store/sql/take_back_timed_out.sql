-- Take back attempts past their own time limit. Answers how many.
with timed_out as (
  select h.id
  from public.handoffs h
  where h.status = 'in_progress'
    and h.attempt_ends_at <= now()
  order by h.attempt_ends_at
  limit :batch::bigint
  for no key update skip locked
)
select coordination.take_back(array(select t.id from timed_out t), 'timed_out')
