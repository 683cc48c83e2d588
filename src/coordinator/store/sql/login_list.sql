-- The logins that are one agent each, by their agents. No row: there are none.
select
  l.login::text as login,
  l.agent_name,
  l.roles,
  case
    when pg_has_role(r.oid, to_regrole('coordinator_agent'), 'usage') then 'functions'
    when pg_has_role(r.oid, to_regrole('coordinator_plain_agent'), 'usage') then 'sql'
  end as speaks,
  (
    select count(*)
    from pg_stat_activity s
    where s.usesysid = r.oid
      and s.datname = current_database()
  ) as connections,
  l.created_at
from coordination.agent_logins l
left join pg_roles r on r.rolname = l.login
order by l.agent_name, l.login
