-- Note a migration as left out; what stands there already stays. No row.
insert into coordination.migrations (version, name, checksum, skipped)
select m.version, m.name, m.checksum, true
from jsonb_to_record(current_setting('coordinator.migration')::jsonb) as m (version text, name text, checksum text)
on conflict do nothing
