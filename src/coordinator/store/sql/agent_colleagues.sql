-- The agents by name, at most :most of them, and how long ago each was heard. No row: there are none.
select a.agent_name, a.status, a.blocked_reason, a.roles, a.current_task, a.current_handoff,
  extract(epoch from now() - a.last_seen)::float8 as heard_s_ago
from public.agent_status a
order by a.agent_name
limit :most::bigint
