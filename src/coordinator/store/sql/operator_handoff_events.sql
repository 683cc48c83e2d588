-- Every transition of the handoffs in :handoff_ids, in order. No row: nothing is known of them.
select e.sequence, e.occurred_at, e.event, e.handoff_id, e.attempt, e.agent, e.by_user, e.by_application, e.detail
from public.coordination_events e
where e.handoff_id = any (:handoff_ids::uuid[])
order by e.sequence
