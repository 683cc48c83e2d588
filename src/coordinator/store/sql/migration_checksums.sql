-- The migrations that this database has had, by our own history, in order. No row: it was not we who applied them.
select m.version, m.name, m.checksum
from coordination.migrations m
order by m.version
