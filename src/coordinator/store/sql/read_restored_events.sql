-- The transitions in a restored database that the log has not had, in order; :seen counts in the old cluster's
-- transaction ids, which all events up to :highest carry. No row: nothing.
select e.sequence, e.occurred_at, e.handoff_id, e.attempt, e.event, e.agent, e.by_user, e.by_application, e.detail
from public.coordination_events e
where e.sequence > :highest::bigint
  or (e.sequence > :floor::bigint and not coalesce(pg_visible_in_snapshot(e.xid, :seen::text::pg_snapshot), false))
order by e.sequence
