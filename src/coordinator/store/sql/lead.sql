-- Try to become the leader; always one row. Never waits: a waiting statement holds a snapshot and stops vacuum.
-- got: the lock is ours, with a new term. Else who holds it, and the leader's last sign of progress.
with tried as materialized (
  select pg_try_advisory_lock(:key::bigint) as got
), elected as (
  update coordination.leadership l
  set term = l.term + 1, leader = :leader::uuid, backend_pid = pg_backend_pid(), renewed_at = clock_timestamp()
  from tried t
  where t.got
  returning l.term
)
select
  t.got,
  coalesce(e.term, l.term) as term,
  l.leader,
  l.backend_pid,
  l.renewed_at,
  (
    select k.pid
    from pg_locks k
    where k.locktype = 'advisory'
      and k.database = (select d.oid from pg_database d where d.datname = current_database())
      and (k.classid::bigint << 32) + k.objid::bigint = :key::bigint
      and k.objsubid = 1
      and k.granted
    limit 1
  ) as holder_pid
from tried t
cross join coordination.leadership l
left join elected e on true
