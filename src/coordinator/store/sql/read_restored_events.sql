-- The transitions in a restored database that the log has not had, in order, and where the cursor begins anew:
-- :seen counts in the old cluster's transaction ids, which all events up to :highest carry. Always one row at least;
-- its sequence is null where there is nothing to log. Of the old ids only those still to come in this cluster could
-- be taken for new ones: floor is the last such event.
with here as (
  select pg_current_snapshot() as target
), bounds as (
  select
    h.target::text as target,
    (
      select coalesce(max(e.sequence), 0)
      from public.coordination_events e
      where e.xid >= pg_snapshot_xmax(h.target)
    ) as floor
  from here h
)
select b.target, b.floor as next_floor, e.sequence, e.occurred_at, e.handoff_id, e.attempt, e.event, e.agent,
  e.by_user, e.by_application, e.detail
from bounds b
left join public.coordination_events e
  on e.sequence > :highest::bigint
  or (e.sequence > :floor::bigint and not coalesce(pg_visible_in_snapshot(e.xid, :seen::text::pg_snapshot), false))
order by e.sequence
