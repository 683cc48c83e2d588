-- Begin the cursor anew in a restored database: what is there is logged. No row: another daemon leads by now.
update coordination.tail_cursor c
set system_identifier = s.system_identifier,
  seen = pg_current_snapshot(),
  target = null,
  logged = 0,
  highest = e.highest,
  floor = e.highest
from pg_control_system() s
cross join (select coalesce(max(e.sequence), 0) as highest from public.coordination_events e) e
where exists (
  select
  from coordination.leadership l
  where l.term = :term::bigint
    and l.leader = :leader::uuid
)
returning c.floor
