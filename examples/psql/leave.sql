update agent_status set status = 'blocked', blocked_reason = 'offline' where agent_name = :'name';
