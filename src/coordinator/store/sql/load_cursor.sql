-- Where the log got to. Always one row. `restored`: the cursor came with a dump from another cluster, whose
-- transaction ids mean nothing here.
select
  c.seen::text,
  c.target::text,
  c.logged,
  c.highest,
  c.floor,
  c.system_identifier is not null and c.system_identifier <> s.system_identifier as restored
from coordination.tail_cursor c
cross join pg_control_system() s
