-- Which processes hold work, and whether a session of theirs holds its tether. One row a process with either;
-- `holds` is its incarnation if it holds work. No row: nobody does anything.
with tethered as materialized (
  select distinct k.objid::bigint as id
  from pg_locks k
  where k.locktype = 'advisory'
    and k.database = (select d.oid from pg_database d where d.datname = current_database())
    and k.classid = x'686f6c64'::integer::oid
    and k.objsubid = 2
    and k.mode = 'ShareLock'
    and k.granted
), holders as materialized (
  select distinct h.held_by as incarnation, ('x' || left(h.held_by::text, 8))::bit(32)::bigint as id
  from public.handoffs h
  where h.status = 'in_progress'
    and h.held_by is not null
)
select coalesce(t.id, h.id) as id, t.id is not null as tethered, h.incarnation as holds
from tethered t
full join holders h on h.id = t.id
