-- One agent's row; no row where nobody has this name.
select
  a.id, a.agent_name, a.status, a.current_task, a.last_seen, a.metadata, a.blocked_reason, a.roles, a.incarnation,
  a.current_handoff, a.status_since, a.registered_at
from get_agent_status(:agent_name::text) a
