-- The last statement of a migration's script: put it into both histories, in the same transaction. One row.
-- What stands there already stays.
with migration as (
  select m.*
  from jsonb_to_record(current_setting('coordinator.migration')::jsonb)
    as m (version text, name text, checksum text, statements text)
), checksums as (
  insert into coordination.migrations (version, name, checksum)
  select m.version, m.name, m.checksum
  from migration m
  on conflict do nothing
), history as (
  insert into supabase_migrations.schema_migrations (version, name, statements)
  select m.version, m.name, array[m.statements]
  from migration m
  on conflict do nothing
)
select m.version
from migration m
