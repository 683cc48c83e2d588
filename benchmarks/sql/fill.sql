-- Hand off $2 times to each of the agents $1, in turn. With triggers the rest follows by itself;
-- without them lineage must be given, which the triggers compute anew.
insert into handoffs (id, root_id, from_agent, to_agent, task_description)
select id, id, 'bench', agent_name, 'rest'
from (
  select gen_random_uuid() as id, agent_name
  from generate_series(1, $2::integer) turn
  cross join unnest($1::text[]) agent_name
  order by turn
) new;
