-- The next page of transitions that the log has not had, in order, at most :page of them. No row: nothing new.
-- Between two snapshots: what :seen could not see and :target (null: this very snapshot) can. Never a horizon,
-- which would stall behind any writer; never by xid, which is not the order in which things happened.
with snapshots as (
  select coalesce(:target::text::pg_snapshot, pg_current_snapshot()) as target
), fresh as materialized (
  select e.*, s.target
  from snapshots s
  join public.coordination_events e on e.xid >= coalesce(pg_snapshot_xmin(:seen::text::pg_snapshot), '0'::xid8)
  where not coalesce(pg_visible_in_snapshot(e.xid, :seen::text::pg_snapshot), false)
    and pg_visible_in_snapshot(e.xid, s.target)
    and e.sequence > greatest(:logged::bigint, :floor::bigint)
)
select f.sequence, f.occurred_at, f.handoff_id, f.attempt, f.event, f.agent, f.by_user, f.by_application, f.detail, f.target::text
from fresh f
order by f.sequence
limit :page::bigint
