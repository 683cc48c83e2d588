-- Be an agent that is idle, and hear what is pushed to it.
insert into agent_status (agent_name) values (:'name')
on conflict (agent_name) do update set status = 'idle', last_seen = now();
select agent_channel(:'name') as channel \gset
listen :"channel";
