-- Take heartbeats that lie in the future for heard now: the clock was set back, and whoever fell silent before that
-- would look alive for as long as the step. Answers how many; what is locked is skipped.
with ahead as (
  select a.id
  from public.agent_status a
  where a.last_seen > clock_timestamp()
  order by a.agent_name
  limit :batch::bigint
  for no key update skip locked
), corrected as (
  update public.agent_status a
  set last_seen = now()
  from ahead
  where a.id = ahead.id
  returning a.id
)
select count(*)::integer from corrected
