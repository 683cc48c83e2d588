-- Heartbeats of agents of one incarnation: what each does and holds now. No row for an agent: it was replaced or removed.
-- Their commit does not wait for the disk. A crash may lose the last half second of them: the agents then look that much
-- staler, and beat again, and nobody is judged within stale_after of an outage. What rests on a heartbeat (a stale agent
-- idle again, and work given to it) comes after it in the log, so that no crash keeps the one without the other.
with eased as materialized (
  select set_config('synchronous_commit', 'off', true) as synchronous_commit
)
select b.agent_name, b.status, b.blocked_reason, b.handoff_id, b.attempt, b.accepted, b.cancel_requested
from eased
cross join heartbeat_many(:agent_names::text[], :incarnation::uuid) b
