-- Which histories there are: our checksums, and the table that the Supabase CLI keeps. False: there is none; null: it
-- may not be read. One row.
with histories as (
  select n.nspname, nullif(has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select'), false) as readable
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where (n.nspname, c.relname) in (('coordination', 'migrations'), ('supabase_migrations', 'schema_migrations'))
), sought as (
  select s.nspname, case when h.nspname is null then false else h.readable end as readable
  from (values ('coordination'), ('supabase_migrations')) s (nspname)
  left join histories h using (nspname)
)
select
  bool_and(s.readable) filter (where s.nspname = 'coordination') as checksums,
  bool_and(s.readable) filter (where s.nspname = 'supabase_migrations') as history
from sought s
