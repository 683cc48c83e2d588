-- Floor: give the handoff $1 to the agent $2, both rows, and notify the agent with the payload $3.
with given as (
  update handoffs h
  set status = 'in_progress',
    attempt = h.attempt + 1,
    assigned_agent = h.id::text,
    dispatched_at = now()
  where h.id = $1::uuid
    and h.status = 'pending'
), engaged as (
  update agent_status a
  set status = 'working', current_handoff = $1::uuid, status_since = now()
  where a.agent_name = $2::text
)
select pg_notify('agent', $3::text);
