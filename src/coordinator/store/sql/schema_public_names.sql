-- The names of the tables, functions and types in schema public, whoever made them; an index goes by its table.
select c.relname::text as name
from pg_class c
where c.relnamespace = 'public'::regnamespace
  and c.relkind in ('r', 'p', 'v', 'm', 'S', 'c')
union
select p.proname::text
from pg_proc p
where p.pronamespace = 'public'::regnamespace
union
select t.typname::text
from pg_type t
where t.typnamespace = 'public'::regnamespace
  and t.typtype in ('d', 'e')
order by name
