-- Say that this agent lives, and do what it holds, if anything.
update agent_status set last_seen = now() where agent_name = :'name';
select max(id::text) as id, max(attempt) as attempt
from handoffs
where assigned_agent = :'name' and status = 'in_progress' \gset
\if :{?id}
  -- The attempt is the proof that the work is still ours; no row is updated once it is not.
  update handoffs
  set status = 'completed', result = jsonb_build_object('text', upper(task_description))
  where id = :'id' and attempt = :attempt and status = 'in_progress'
  returning 'completed ' || id;
  -- If it took too long and was taken back, the agent is blocked until it says this; else it changes nothing.
  update agent_status set status = 'idle', last_seen = now() where agent_name = :'name';
\endif
select 'looked';
