-- Begin the cursor anew in a restored database: what :seen sees is logged. No row: another daemon leads by now.
update coordination.tail_cursor c
set system_identifier = s.system_identifier,
  seen = :seen::text::pg_snapshot,
  target = null,
  logged = 0,
  highest = greatest(c.highest, :highest::bigint),
  floor = :floor::bigint
from pg_control_system() s
where exists (
  select
  from coordination.leadership l
  where l.term = :term::bigint
    and l.leader = :leader::uuid
)
returning c.floor
