-- The migrations that this database has had, by our own history, in order, and those that it was spared. No row: it was
-- not we who applied them. Before the halves nothing was ever skipped, and the column was not there.
select m.version, m.name, m.checksum, coalesce((to_jsonb(m) ->> 'skipped')::boolean, false) as skipped
from coordination.migrations m
order by m.version
