-- The whole picture in one read, always one row. Ages are seconds by the database's clock; null: there is none.
with queue as (
  select
    count(*) filter (where h.status = 'pending' and (h.due or h.available_at <= now())) as due,
    count(*) filter (where h.status = 'pending' and not h.due and h.available_at > now()) as delayed,
    count(*) filter (where h.status = 'in_progress' and h.accepted_at is null) as dispatched,
    count(*) filter (where h.status = 'in_progress' and h.accepted_at is not null) as accepted,
    count(*) filter (where h.outcome = 'succeeded') as succeeded,
    count(*) filter (where h.outcome = 'failed') as failed,
    count(*) filter (where h.outcome = 'cancelled') as cancelled,
    min(h.available_at) filter (where h.status = 'pending' and (h.due or h.available_at <= now())) as oldest_due
  from public.handoffs h
), fleet as (
  select
    count(*) filter (where a.status = 'idle') as idle,
    count(*) filter (where a.status = 'working') as working,
    count(*) filter (where a.status = 'blocked') as blocked,
    count(*) filter (where a.blocked_reason = 'stale') as stale,
    count(*) filter (where a.blocked_reason = 'unresponsive') as unresponsive,
    count(*) filter (where a.blocked_reason = 'left') as left_agents
  from public.agent_status a
), answered (address) as materialized (
  -- Listed once: to ask all agents for each handoff took minutes where both are many.
  select a.agent_name
  from public.agent_status a
  union
  select unnest(a.roles)
  from public.agent_status a
)
select
  q.due, q.delayed, q.dispatched, q.accepted, q.succeeded, q.failed, q.cancelled,
  extract(epoch from now() - q.oldest_due)::float8 as oldest_due_s,
  array(
    select distinct h.to_agent
    from public.handoffs h
    where h.status = 'pending'
      and h.due
      and not exists (
        select
        from answered a
        where a.address = h.to_agent
      )
    order by h.to_agent
    limit 10
  ) as unanswered,
  f.idle, f.working, f.blocked, f.stale, f.unresponsive, f.left_agents,
  l.term, l.leader,
  exists (
    select
    from pg_stat_activity s
    where s.pid = l.backend_pid
      and s.datname = current_database()
  ) as leader_connected,
  extract(epoch from clock_timestamp() - l.renewed_at)::float8 as last_pass_ago_s,
  pg_notification_queue_usage() as notification_queue_usage,
  current_setting('server_version') as server_version,
  (select max(m.version) from coordination.migrations m) as schema_version
from queue q
cross join fleet f
cross join coordination.leadership l
