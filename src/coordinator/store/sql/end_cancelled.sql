-- End as cancelled what was asked to stop and stayed silent for :cancel_grace. Answers how many.
with silent as (
  select h.id
  from public.handoffs h
  where h.status = 'in_progress'
    and h.cancel_requested
    and h.cancel_requested_at <= now() - :cancel_grace::interval
  order by h.cancel_requested_at
  limit :batch::bigint
  for no key update skip locked
)
select coordination.end_handoffs(array(select s.id from silent s), 'cancelled', 'cancel_grace')
