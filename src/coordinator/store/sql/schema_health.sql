-- What the doctor looks at beside the schema's shape: the server, the roles, the owners. One row.
select
  array(
    select r.name
    from unnest(:roles::text[]) r (name)
    where not exists (select from pg_roles x where x.rolname = r.name)
    order by r.name
  ) as missing_roles,
  array(
    select distinct pg_get_userbyid(c.relowner)::text
    from pg_class c
    where c.oid in (to_regclass('public.handoffs'), to_regclass('public.agent_status'), to_regclass('public.coordination_events'))
      -- The business half, where it is ours.
      or to_regclass('public.one_task_per_handoff') is not null and c.oid in (
        to_regclass('public.users'), to_regclass('public.workspaces'), to_regclass('public.workspace_members'),
        to_regclass('public.workspace_agents'), to_regclass('public.clients'), to_regclass('public.tasks'))
    union
    select pg_get_userbyid(p.proowner)::text
    from pg_proc p
    where p.pronamespace = to_regnamespace('coordination')
      or to_regclass('public.one_task_per_handoff') is not null and p.pronamespace = to_regnamespace('agency')
  ) as owners,
  pg_notification_queue_usage() as notification_queue_usage,
  (select count(*) from pg_prepared_xacts x where x.database = current_database()) as prepared_transactions,
  -- In milliseconds, and pg_settings says so.
  (select s.reset_val::bigint * interval '1 millisecond' from pg_settings s where s.name = 'idle_session_timeout') as idle_session_timeout,
  array(
    select r.rolname::text
    from pg_auth_members m
    join pg_roles r on r.oid = m.member
    where m.roleid = to_regrole('coordinator_bound_agent')
      and not m.admin_option
      and (r.rolsuper or r.rolbypassrls or pg_has_role(r.oid, to_regrole('coordinator_daemon'), 'member'))
    order by r.rolname
  ) as loosely_bound
