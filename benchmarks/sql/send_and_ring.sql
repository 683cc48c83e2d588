-- Floor: hand off to the agent $1 with the context $2, and notify the relay, without a trigger.
with new as (
  insert into handoffs (id, root_id, from_agent, to_agent, task_description, context)
  select id, id, 'bench', $1, 'rest', $2::text::jsonb
  from gen_random_uuid() id
  returning id, context
)
select pg_notify('bell', jsonb_build_object('id', new.id, 'context', new.context)::text)
from new;
