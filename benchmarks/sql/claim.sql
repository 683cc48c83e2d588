-- Floor: give each of the agents $1 its next handoff; returns what was given. Only handoffs is written.
update handoffs h
set status = 'in_progress',
  attempt = h.attempt + 1,
  assigned_agent = n.agent_name,
  dispatched_at = now()
from (
  select a.agent_name, h.id
  from unnest($1::text[]) a (agent_name)
  cross join lateral (
    select h.id
    from handoffs h
    where h.to_agent = a.agent_name
      and h.status = 'pending'
      and h.due
    order by h.priority desc, h.position
    limit 1
    for no key update skip locked
  ) h
) n
where h.id = n.id
returning h.id;
