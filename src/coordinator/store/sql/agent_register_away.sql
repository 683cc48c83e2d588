-- Register an agent that takes no work yet; in one transaction, so that none is given before. Always one row: the agent.
select
  a.id, a.agent_name, a.status, a.current_task, a.last_seen, a.metadata, a.blocked_reason, a.roles, a.incarnation,
  a.current_handoff, a.status_since, a.registered_at
from register_agent(
  agent_name => :agent_name::text,
  incarnation => :incarnation::uuid,
  roles => :roles::text[],
  metadata => :metadata::jsonb
) r
cross join lateral set_agent_status(agent_name => r.agent_name, status => 'working', incarnation => r.incarnation) a
