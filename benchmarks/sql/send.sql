-- Hand off to the agent $1 with the context $2.
insert into handoffs (from_agent, to_agent, task_description, context)
values ('bench', $1, 'rest', $2::text::jsonb);
