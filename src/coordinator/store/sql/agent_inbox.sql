-- What waits at an agent's addresses, in the order of dispatch, at most :most. No row: nothing waits.
select h.id as handoff_id, h.from_agent, h.to_agent, h.priority, h.created_at, h.available_at
from public.handoffs h
where h.to_agent = any (:addresses::text[])
  and h.status = 'pending'
order by h.priority desc, h.position
limit :most::bigint
