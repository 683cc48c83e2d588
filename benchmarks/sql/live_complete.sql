-- Floor of a whole life: complete the handoffs $1, free their agents, with an event each.
with done as (
  update handoffs h
  set status = 'completed',
    outcome = 'succeeded',
    end_reason = 'settled',
    held_by = null,
    finished_at = now()
  where h.id = any ($1::uuid[])
), freed as (
  update agent_status a
  set status = 'idle', current_handoff = null, status_since = now()
  where a.agent_name = any ($2::text[])
    and a.current_handoff = any ($1::uuid[])
)
insert into coordination_events (handoff_id, attempt, event, detail)
select id, 1, 'handoff.succeeded', '{}' from unnest($1::uuid[]) id;
