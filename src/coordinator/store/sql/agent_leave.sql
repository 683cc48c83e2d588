-- Leave: what the agent holds is taken back, and it gets nothing until it registers again. Always one row.
select leave(agent_name => :agent_name::text, incarnation => :incarnation::uuid)
