-- The statements that make a login and bind it to its agent, quoted as the server wants them. One row.
select format(
  'create role %1$I login inherit password %2$L;'
    ' grant %3$I, coordinator_bound_agent to %1$I %4$s;'
    ' insert into coordination.agent_logins (login, agent_name, roles) values (%1$L, %5$L, %6$L);',
  :login::text,
  :verifier::text,
  :granted::text,
  -- It may use the rights, and not become the role. Before 16 it may: session_user binds it all the same.
  case when current_setting('server_version_num')::integer >= 160000 then 'with inherit true, set false' end,
  :agent_name::text,
  :roles::text[]
) as script
