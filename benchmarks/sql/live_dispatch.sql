-- Floor of a whole life: both rows and an event for each idle agent's next handoff.
with pairs as materialized (
  select a.agent_name, a.incarnation, h.id
  from (
    select a.agent_name, a.incarnation
    from agent_status a
    where a.agent_name = any ($1::text[])
      and a.status = 'idle'
      and a.current_handoff is null
    for no key update skip locked
  ) a
  cross join lateral (
    select h.id
    from handoffs h
    where h.to_agent = a.agent_name
      and h.status = 'pending'
      and h.due
    order by h.priority desc, h.position
    limit 1
    for no key update skip locked
  ) h
), engaged as (
  update agent_status a
  set status = 'working', current_handoff = p.id, status_since = now()
  from pairs p
  where a.agent_name = p.agent_name
), dispatched as (
  update handoffs h
  set status = 'in_progress',
    attempt = h.attempt + 1,
    assigned_agent = p.agent_name,
    held_by = p.incarnation,
    dispatched_at = now()
  from pairs p
  where h.id = p.id
), told as (
  insert into coordination_events (handoff_id, attempt, event, agent, detail)
  select p.id, 1, 'handoff.dispatched', p.agent_name, jsonb_build_object('to_agent', p.agent_name)
  from pairs p
)
select p.id from pairs p;
