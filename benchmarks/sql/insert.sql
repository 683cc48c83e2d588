-- One handoff by plain SQL, its own transaction.
insert into handoffs (from_agent, to_agent, task_description) values ('bench', 'nobody', 'rest');
