-- What could have become dispatchable between a snapshot and now, by the audit trail. Always one row: the addresses
-- with new work, the agents that became idle, the time to the first delayed handoff among them, the snapshot that bounds
-- this read, and whether everybody below :debt had ended by then (null: nothing is owed).
with fresh as materialized (
  -- As in read_events: what began after the snapshot, and what was under way.
  select e.event, e.agent, e.detail
  from public.coordination_events e
  where e.xid >= pg_snapshot_xmax(:seen::text::pg_snapshot)
    and e.xid < pg_snapshot_xmax(pg_current_snapshot())
  union all
  select e.event, e.agent, e.detail
  from pg_snapshot_xip(:seen::text::pg_snapshot) under_way (xid)
  cross join lateral (
    select e.event, e.agent, e.detail
    from public.coordination_events e
    where e.xid between under_way.xid and under_way.xid
    offset 0
  ) e
), queued as materialized (
  select f.detail
  from fresh f
  where f.event in ('handoff.queued', 'handoff.taken_back', 'handoff.attempt_failed', 'handoff.reopened')
)
select
  array(
    select distinct q.detail ->> 'to_agent'
    from queued q
    where not q.detail ? 'available_at'
  ) as addresses,
  array(
    select a.agent_name
    from public.agent_status a
    where a.agent_name = any (array(select distinct f.agent from fresh f where f.agent is not null))
      and a.status = 'idle'
      and a.current_handoff is null
  ) as agents,
  (
    select extract(epoch from min((q.detail ->> 'available_at')::timestamptz) - now())::float8
    from queued q
  ) as due_in_s,
  pg_current_snapshot()::text as seen,
  pg_snapshot_xmin(pg_current_snapshot()) >= :debt::text::xid8 as paid
