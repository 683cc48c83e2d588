-- Where reading the transitions begins, always one row: what is visible now (the cursor), the number behind which
-- the newest :newest that pass the filters lie, and the last number that came with a dump: such rows carry the
-- transaction ids of another cluster.
with newest as (
  select e.sequence
  from public.coordination_events e
  where (:handoff_id::uuid is null or e.handoff_id = :handoff_id::uuid)
    and (:agent::text is null or e.agent = :agent::text)
  order by e.sequence desc
  limit :newest::bigint
)
select
  pg_current_snapshot()::text as seen,
  coalesce((select min(n.sequence) - 1 from newest n), 0) as after,
  coalesce((
    select max(e.sequence)
    from public.coordination_events e
    where e.xid >= pg_snapshot_xmax(pg_current_snapshot())
  ), 0) as floor
