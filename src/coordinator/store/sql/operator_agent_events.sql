-- The newest transitions of the agent's own (not of its handoffs), at most :most of them, newest first. No row: none.
select e.sequence, e.occurred_at, e.event, e.handoff_id, e.attempt, e.agent, e.by_user, e.by_application, e.detail
from public.coordination_events e
where e.agent = :agent::text
  and e.handoff_id is null
order by e.sequence desc
limit :most::bigint
