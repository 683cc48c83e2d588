-- Floor: one handoff, its own transaction, where no trigger computes its lineage.
insert into handoffs (id, root_id, from_agent, to_agent, task_description)
select id, id, 'bench', 'nobody', 'rest' from gen_random_uuid() id;
