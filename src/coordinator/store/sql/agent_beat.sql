-- Heartbeats of agents of one incarnation: what each does and holds now. No row for an agent: it was replaced or removed.
select b.agent_name, b.status, b.blocked_reason, b.handoff_id, b.attempt, b.accepted, b.cancel_requested
from heartbeat_many(:agent_names::text[], :incarnation::uuid) b
