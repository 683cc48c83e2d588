-- Block the agents of processes whose tether is gone: nobody is there to take work. Answers how many. A heartbeat
-- lifts it. One that has come back meanwhile is spared, and so is what somebody has locked.
with gone as (
  select a.id
  from public.agent_status a
  where a.incarnation = any (:incarnations::uuid[])
    and a.status <> 'blocked'
    and not exists (
      select
      from pg_locks k
      where k.locktype = 'advisory'
        and k.database = (select d.oid from pg_database d where d.datname = current_database())
        and k.classid = x'686f6c64'::integer::oid
        and k.objid::bigint = ('x' || left(a.incarnation::text, 8))::bit(32)::bigint
        and k.objsubid = 2
        and k.mode = 'ShareLock'
        and k.granted
    )
  order by a.agent_name
  limit :batch::bigint
  for no key update skip locked
), blocked as (
  update public.agent_status a
  set status = 'blocked', blocked_reason = 'stale'
  from gone g
  where a.id = g.id
  returning a.id
)
select count(*)::integer from blocked
