-- Whether the present user may make an agent's login, and whether the server has a role of this name. One row.
select
  current_user::text as me,
  exists (select from pg_roles r where r.rolname = :login::text) as is_there,
  (select r.rolsuper or r.rolcreaterole from pg_roles r where r.rolname = current_user) as create,
  has_table_privilege('coordination.agent_logins', 'insert') as bind,
  -- Until 15, CREATEROLE is enough.
  current_setting('server_version_num')::integer < 160000
    or (
      select bool_and(coalesce(pg_has_role(to_regrole(g.name), 'member with admin option'), false))
      from unnest(array['coordinator_agent', 'coordinator_plain_agent', 'coordinator_bound_agent']) g (name)
    ) as grant
