-- The first page of transitions that the log has not had, in order, at most :page of them, and the snapshot that
-- bounds them. No row: nothing new. Between two snapshots: what :seen could not see and this one can. Never a
-- horizon, which would stall behind any writer; never by xid, which is not the order in which things happened.
with snapshots as (
  select pg_current_snapshot() as target
), fresh as materialized (
  -- What a snapshot cannot see began after it, or was under way. A scan from its xmin on would visit all events since
  -- the oldest transaction began, at each read.
  select e.sequence
  from public.coordination_events e
  where e.xid >= coalesce(pg_snapshot_xmax(:seen::text::pg_snapshot), '0'::xid8)
    -- Implied, and said for the planner: a range open at one end looks to a generic plan like a third of the table.
    and e.xid < pg_snapshot_xmax(pg_current_snapshot())
    and e.sequence > :floor::bigint
  union all
  select e.sequence
  from pg_snapshot_xip(:seen::text::pg_snapshot) under_way (xid)
  cross join lateral (
    select e.sequence
    from public.coordination_events e
    -- A range of one: by the statistics of a bulk load, equality looks like the whole table.
    where e.xid between under_way.xid and under_way.xid
      and e.sequence > :floor::bigint
    offset 0
  ) e
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
