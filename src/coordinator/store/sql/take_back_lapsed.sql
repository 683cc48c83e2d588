-- Take back what agents silent for :take_back_after hold. Answers how many. Locks handoff and agent, and skips
-- where either is locked: an agent heard in this moment is spared.
with lapsed as (
  select h.id
  from public.agent_status a
  join public.handoffs h on h.id = a.current_handoff
  where a.last_seen <= now() - :take_back_after::interval
    and h.status = 'in_progress'
  limit :batch::bigint
  for no key update of h, a skip locked
)
select coordination.take_back(array(select l.id from lapsed l), 'lapsed')
