-- Renew the leader's term and look what there is to sweep: one row while the term is ours, no row once
-- another daemon leads. The flags say which of the sweeping statements would find something. What is
-- notified proves to the listener, at no further cost, that it hears.
with renewed as (
  update coordination.leadership l
  set renewed_at = clock_timestamp()
  where l.term = :term::bigint
    and l.leader = :leader::uuid
  returning l.term, pg_notify('leadership', '')
), held_up as (
  -- No row, but the table's lock, as a heartbeat takes it: whoever keeps heartbeats out keeps this look out as
  -- well, and the gap between two looks then grants an amnesty.
  update public.agent_status a
  set last_seen = a.last_seen
  where false
  returning a.id
)
select
  clock_timestamp() as now,
  a.agents,
  a.stale,
  a.lapsed,
  a.ahead,
  exists (
    select
    from public.handoffs h
    where h.status <> 'completed'
      and h.deadline_at <= now()
  ) as overdue,
  exists (
    select
    from public.handoffs h
    where h.status = 'in_progress'
      and h.attempt_ends_at <= now()
  ) as timed_out,
  exists (
    select
    from public.handoffs h
    where h.status = 'in_progress'
      and h.cancel_requested
      and h.cancel_requested_at <= now() - :cancel_grace::interval
  ) as to_cancel,
  exists (
    select
    from public.handoffs h
    where h.status = 'in_progress'
      and h.accepted_at is null
      and h.held_by is not null
      and h.dispatched_at <= now() - :accept_timeout::interval / 2
  ) as unaccepted
from renewed
cross join (
  select
    count(*) filter (where a.status <> 'blocked')::integer as agents,
    count(*) filter (where a.status <> 'blocked' and a.last_seen <= now() - :stale_after::interval)::integer as stale,
    count(*) filter (where a.current_handoff is not null and a.last_seen <= now() - :take_back_after::interval)::integer as lapsed,
    count(*) filter (where a.last_seen > clock_timestamp())::integer as ahead
  from public.agent_status a
) a
