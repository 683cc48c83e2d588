-- The statements that shut a bound login out, and drop it, if the server still has it. No row: no agent's login has
-- this name.
select
  r.oid is not null as is_there,
  format('alter role %I nologin', l.login) as shut,
  format('delete from coordination.agent_logins where login = %L;', l.login)
    || case when r.oid is not null then format(' drop role %I', l.login) else '' end as drop
from coordination.agent_logins l
left join pg_roles r on r.rolname = l.login
where l.login = :login::text
