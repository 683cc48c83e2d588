-- Floor of a whole life: accept the handoffs $1, with an event each.
with accepted as (
  update handoffs h
  set accepted_at = now()
  where h.id = any ($1::uuid[])
)
insert into coordination_events (handoff_id, attempt, event, detail)
select id, 1, 'handoff.accepted', '{}' from unnest($1::uuid[]) id;
