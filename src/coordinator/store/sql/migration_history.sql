-- Which of our migrations stand in the history of the Supabase CLI. No row: none. Others in it are the user's own.
select s.version
from supabase_migrations.schema_migrations s
where s.version = any (:versions::text[])
order by s.version
