-- Keep how far the log got. No row: another daemon leads by now.
update coordination.tail_cursor c
set system_identifier = s.system_identifier,
  seen = :seen::text::pg_snapshot,
  target = :target::text::pg_snapshot,
  logged = :logged::bigint,
  highest = greatest(c.highest, :highest::bigint)
from pg_control_system() s
where exists (
  select
  from coordination.leadership l
  where l.term = :term::bigint
    and l.leader = :leader::uuid
)
returning c.highest
