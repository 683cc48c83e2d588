-- Floor of a whole life: the event of each new handoff.
insert into coordination_events (handoff_id, attempt, event, detail)
select h.id, 0, 'handoff.queued', jsonb_build_object('from_agent', h.from_agent, 'to_agent', h.to_agent)
from handoffs h
order by h.position;
