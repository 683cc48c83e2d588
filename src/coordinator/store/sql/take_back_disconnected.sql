-- Take back what the blocked agents of processes without a tether hold. Answers how many. An agent that was heard
-- again meanwhile is no longer blocked, and keeps it.
with gone as (
  select h.id
  from public.agent_status a
  join public.handoffs h on h.id = a.current_handoff
  where a.incarnation = any (:incarnations::uuid[])
    and a.status = 'blocked'
    and a.blocked_reason = 'stale'
    and h.status = 'in_progress'
    and h.held_by = a.incarnation
  limit :batch::bigint
  for no key update of h, a skip locked
)
select coordination.take_back(array(select g.id from gone g), 'disconnected')
