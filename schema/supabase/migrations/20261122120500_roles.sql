-- Who may do what. Roles belong to the cluster, so they may exist already, or be made by somebody else just now.

do $$
declare
  wanted text;
begin
  foreach wanted in array array['coordinator_daemon', 'coordinator_agent', 'coordinator_plain_agent'] loop
    begin
      execute format('create role %I nologin', wanted);
    exception when duplicate_object or unique_violation then
      null;
    end;
  end loop;
end $$;

-- Nothing is open by default, whatever default privileges the database has (Supabase grants some to anon).
do $$
declare
  stranger text;
  routine regprocedure;
begin
  for stranger in
    select 'public' union all select quote_ident(r.rolname) from pg_roles r where r.rolname in ('anon', 'authenticated')
  loop
    execute format('revoke all on public.agent_status, public.handoffs, public.coordination_events, public.coordination_settings from %s', stranger);
    execute format('revoke all on all tables in schema coordination from %s', stranger);
    execute format('revoke all on schema coordination from %s', stranger);
    execute format('revoke execute on all functions in schema coordination from %s', stranger);
    for routine in
      select p.oid::regprocedure
      from pg_proc p
      where p.pronamespace = 'public'::regnamespace
        and p.proname in ('agent_channel', 'register_agent', 'heartbeat', 'heartbeat_many', 'set_agent_status', 'leave',
          'get_agent_status', 'hand_off', 'hand_off_many', 'accept_handoff', 'report_progress', 'complete_handoff',
          'fail_handoff', 'cancel_handoff', 'retry_handoff', 'get_handoff', 'held_handoff', 'check_wait')
    loop
      execute format('revoke execute on function %s from %s', routine, stranger);
    end loop;
  end loop;
end $$;

grant usage on schema public to coordinator_daemon, coordinator_agent, coordinator_plain_agent;

-- An agent by functions only.
grant execute on function
  public.agent_channel, public.register_agent, public.heartbeat, public.heartbeat_many, public.set_agent_status,
  public.leave, public.get_agent_status, public.hand_off, public.hand_off_many, public.accept_handoff,
  public.report_progress, public.complete_handoff, public.fail_handoff, public.cancel_handoff,
  public.get_handoff, public.held_handoff, public.check_wait
to coordinator_agent, coordinator_daemon;

-- An agent that only speaks plain SQL: column grants on the two tables, and its channel's name.
grant select on public.agent_status, public.handoffs to coordinator_plain_agent;
grant insert (agent_name, status, current_task, last_seen, metadata, blocked_reason, roles)
  on public.agent_status to coordinator_plain_agent;
grant update (status, current_task, last_seen, metadata, blocked_reason, roles)
  on public.agent_status to coordinator_plain_agent;
grant insert (id, from_agent, to_agent, task_description, status, context, priority, available_at, deadline_at, timeout,
  max_attempts, idempotency_key, parent_id, traceparent)
  on public.handoffs to coordinator_plain_agent;
grant update (status, outcome, result, last_error)
  on public.handoffs to coordinator_plain_agent;
grant execute on function public.agent_channel to coordinator_plain_agent;

-- The daemon, and the operator's commands.
grant usage on schema coordination to coordinator_daemon;
grant select, insert, update, delete on public.agent_status, public.handoffs to coordinator_daemon;
grant select on public.coordination_events, public.coordination_settings, coordination.migrations to coordinator_daemon;
grant select, update on coordination.leadership, coordination.tail_cursor to coordinator_daemon;
grant execute on function coordination.take_back, coordination.end_handoffs, coordination.refuse,
  public.retry_handoff to coordinator_daemon;
