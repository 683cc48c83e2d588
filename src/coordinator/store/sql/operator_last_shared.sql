-- The highest of these numbers whose transition happened at the given time here too, null where there is none. One row.
-- After a failover that lost transitions their numbers stand for others.
select max(e.sequence) as last
from unnest(:sequences::bigint[], :times::timestamptz[]) t (sequence, occurred_at)
join public.coordination_events e on e.sequence = t.sequence and e.occurred_at = t.occurred_at
