-- The first page of transitions that the log has not had, in order, at most :page of them, and the snapshot that
-- bounds them. No row: nothing new. Between two snapshots: what :seen could not see and this one can. Never a
-- horizon, which would stall behind any writer; never by xid, which is not the order in which things happened.
with snapshots as (
  select pg_current_snapshot() as target
), fresh as materialized (
  select e.sequence
  from public.coordination_events e
  where e.xid >= coalesce(pg_snapshot_xmin(:seen::text::pg_snapshot), '0'::xid8)
    -- Implied, and said for the planner: a range open at one end looks to a generic plan like a third of the table.
    and e.xid < pg_snapshot_xmax(pg_current_snapshot())
    and not coalesce(pg_visible_in_snapshot(e.xid, :seen::text::pg_snapshot), false)
    and e.sequence > :floor::bigint
), page as materialized (
  -- Apart from the search: with a limit beside it the planner would walk the whole table in the order of sequence.
  select f.sequence
  from fresh f
  order by f.sequence
  limit :page::bigint
)
select e.sequence, e.occurred_at, e.handoff_id, e.attempt, e.event, e.agent, e.by_user, e.by_application, e.detail, s.target::text
from page p
join public.coordination_events e on e.sequence = p.sequence
cross join snapshots s
order by e.sequence
