-- An agent's own word about itself. Always one row: the status that now stands.
select a.status
from set_agent_status(
  agent_name => :agent_name::text,
  status => :status::text,
  incarnation => :incarnation::uuid,
  reason => :reason::text,
  current_task => :current_task::text
) a
