-- The transitions of all handoffs that began with :root_id, in order, at most :most. No row: nothing is known of it.
select e.sequence, e.occurred_at, e.event, e.handoff_id, e.attempt, e.agent, e.detail
from public.coordination_events e
where e.handoff_id in (
  select h.id
  from public.handoffs h
  where h.id = :root_id::uuid
    or (h.root_id = :root_id::uuid and h.parent_id is not null)
)
order by e.sequence
limit :most::bigint
