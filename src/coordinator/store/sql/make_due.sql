-- Put delayed handoffs whose time has come into the dispatch index. Answers how many; locked ones wait for the next pass.
with ripe as (
  select h.id
  from public.handoffs h
  where h.status = 'pending'
    and not h.due
    and h.available_at <= now()
  order by h.available_at
  limit :batch::bigint
  for no key update skip locked
), made as (
  update public.handoffs h
  set due = true
  from ripe r
  where h.id = r.id
  returning h.id
)
select count(*)::integer from made
