-- Agents by name, at most :most of them; a null filter lets all pass. No row: none fits.
select a.id, a.agent_name, a.status, a.blocked_reason, a.roles, a.current_task, a.current_handoff, a.incarnation,
  a.metadata, a.last_seen, a.status_since, a.registered_at,
  extract(epoch from now() - a.last_seen)::float8 as seen_ago_s,
  extract(epoch from now() - a.status_since)::float8 as status_for_s
from public.agent_status a
where (:agent::text is null or a.agent_name = :agent::text)
  and (:status::text is null or a.status = :status::text)
order by a.agent_name
limit :most::bigint
