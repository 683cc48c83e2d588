-- Mark agents without a heartbeat for :stale_after as blocked. Answers how many. The heartbeat in mid-commit
-- holds its row and is skipped.
with silent as (
  select a.id
  from public.agent_status a
  where a.status <> 'blocked'
    and a.last_seen <= now() - :stale_after::interval
  order by a.agent_name
  limit :batch::bigint
  for no key update skip locked
), blocked as (
  update public.agent_status a
  set status = 'blocked', blocked_reason = 'stale'
  from silent s
  where a.id = s.id
  returning a.id
)
select count(*)::integer from blocked
