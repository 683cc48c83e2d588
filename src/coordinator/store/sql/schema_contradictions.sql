-- Rows that contradict each other, which the triggers do not allow: an agent that holds what is not its own, and a
-- handoff in progress whose agent does not hold it. At most :limit of them. No row: all agree.
select a.agent_name as agent, a.current_handoff as handoff_id, 'agent' as wrong
from public.agent_status a
left join public.handoffs h on h.id = a.current_handoff
where a.current_handoff is not null
  and (h.status is distinct from 'in_progress' or h.assigned_agent is distinct from a.agent_name)
union all
select h.assigned_agent, h.id, 'handoff'
from public.handoffs h
left join public.agent_status a on a.agent_name = h.assigned_agent
where h.status = 'in_progress'
  and a.current_handoff is distinct from h.id
limit :limit::integer
