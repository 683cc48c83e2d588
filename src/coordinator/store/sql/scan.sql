-- What a full scan starts from, always one row: the addresses with due work,
-- the time the next delayed handoff becomes due (null: none waits), and whether some are due by now.
with recursive addresses (address) as (
  (
    select h.to_agent
    from public.handoffs h
    where h.status = 'pending'
      and h.due
    order by h.to_agent
    limit 1
  )
  union all
  select (
    select h.to_agent
    from public.handoffs h
    where h.status = 'pending'
      and h.due
      and h.to_agent > s.address
    order by h.to_agent
    limit 1
  )
  from addresses s
  where s.address is not null
), delayed (next_due) as (
  select min(h.available_at)
  from public.handoffs h
  where h.status = 'pending'
    and not h.due
)
select
  array(select s.address from addresses s where s.address is not null) as addresses,
  d.next_due,
  extract(epoch from d.next_due - now())::float8 as due_in_s
from delayed d
