-- Leave $1 handoffs that wait for 10,000 agents who are not there; with triggers asleep.
insert into handoffs (id, root_id, from_agent, to_agent, task_description)
select id, id, 'bench', 'away-' || number % 10000, 'rest'
from (select number, gen_random_uuid() as id from generate_series(1, $1::integer) number) new;
