-- The next page of a read that a first page began, in order, after :logged and up to :target, at most :page of
-- them. No row: the read is complete. By the primary key: going through all of a long backlog for every page took
-- a third of a second each.
select e.sequence, e.occurred_at, e.handoff_id, e.attempt, e.event, e.agent, e.by_user, e.by_application, e.detail, :target::text as target
from public.coordination_events e
where e.sequence > greatest(:logged::bigint, :floor::bigint)
  and not coalesce(pg_visible_in_snapshot(e.xid, :seen::text::pg_snapshot), false)
  and pg_visible_in_snapshot(e.xid, :target::text::pg_snapshot)
order by e.sequence
limit :page::bigint
