-- Refuse (ZH010) a wait that would never end. Always one row where it may wait.
select check_wait(agent_name => :agent_name::text, to_agent => :to_agent::text)
