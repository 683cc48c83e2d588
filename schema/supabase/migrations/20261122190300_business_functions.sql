-- What the API offers, and how a task goes to an agent and comes back.

create function public.create_workspace(name text, user_id uuid) returns public.workspaces
language plpgsql security invoker set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  made public.workspaces;
begin
  -- The policy would refuse it as well; this says why. The service role stands above policies.
  if row_security_active('public.workspaces') and create_workspace.user_id is distinct from auth.uid() then
    raise exception using
      errcode = 'insufficient_privilege',
      message = 'user_id is not yours: a workspace begins with its creator as owner',
      hint = 'Pass the id of the user who is signed in; only the service role creates workspaces for others.';
  end if;
  insert into public.workspaces (name, owner_id)
  values (create_workspace.name, create_workspace.user_id)
  returning * into made;
  return made;
end $$;
comment on function public.create_workspace(text, uuid) is
  'Begin a workspace, with its owner as first member, in one transaction. Only for oneself, unless the service role calls.';

create function agency.hand_off_task(
  task_id uuid, to_agent text, from_agent text, deadline_at timestamptz, timeout interval, max_attempts integer
) returns table (handoff_id uuid, warning text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  task public.tasks;
  under_way record;
begin
  select * into task from public.tasks t where t.id = hand_off_task.task_id for no key update;
  if not found then
    perform coordination.refuse('ZH014', format('there is no task %s', hand_off_task.task_id), 'Check the id.');
  end if;
  if not exists (
    select from public.workspace_agents s
    where s.workspace_id = task.workspace_id and s.address = hand_off_task.to_agent)
  then
    perform coordination.refuse('ZH015',
      format('%s does not serve the workspace of task %s', hand_off_task.to_agent, task.id),
      format('Name an agent or a role that does, or let it: insert into public.workspace_agents (workspace_id, address) values (%L, %L).',
        task.workspace_id, hand_off_task.to_agent));
  end if;
  select h.id, h.to_agent into under_way from public.handoffs h where h.id = task.handoff_id and h.status <> 'completed';
  if found then
    perform coordination.refuse('ZH016',
      format('task %s is with %s already, as handoff %s', task.id, under_way.to_agent, under_way.id),
      'Wait for its end, or cancel it first: coordinator handoffs cancel ' || under_way.id || '.');
  end if;
  select o.handoff_id, o.warning into handoff_id, warning
  from public.hand_off(
    from_agent => hand_off_task.from_agent,
    to_agent => hand_off_task.to_agent,
    task_description => concat_ws(e'\n\n', task.title, nullif(btrim(task.description), '')),
    context => jsonb_strip_nulls(jsonb_build_object('task_id', task.id, 'workspace_id', task.workspace_id,
      'client_id', task.client_id, 'priority', task.priority, 'due_date', task.due_date)),
    priority => case task.priority when 'low' then -1 when 'high' then 1 when 'urgent' then 2 else 0 end,
    deadline_at => hand_off_task.deadline_at,
    timeout => hand_off_task.timeout,
    max_attempts => hand_off_task.max_attempts
  ) o;
  update public.tasks t set handoff_id = hand_off_task.handoff_id where t.id = task.id;
  return next;
end $$;
comment on function agency.hand_off_task is
  'Hand a task to an agent or a role that serves its workspace; refuses ZH014 (no such task), ZH015 (does not serve), ZH016 (with an agent already).';

create function public.hand_off_task(
  task_id uuid,
  to_agent text,
  from_agent text default 'tasks',
  deadline_at timestamptz default null,
  timeout interval default null,
  max_attempts integer default 3
) returns table (handoff_id uuid, warning text)
language sql security invoker set search_path = pg_catalog, pg_temp as $$
  select o.handoff_id, o.warning
  from agency.hand_off_task(task_id, to_agent, from_agent, deadline_at, timeout, max_attempts) o
$$;
comment on function public.hand_off_task(uuid, text, text, timestamptz, interval, integer) is
  'Hand a task to an agent or a role that serves its workspace. For the service role and operators. The task then follows its handoff.';

-- Locks go from the handoff to its task to its agent; hand_off_task locks a task before its handoff exists. An agent's
-- call waits for a task that somebody has locked. The coordinator's passes do not, as they do not wait for a locked
-- handoff, or one open transaction on a task would hold up everybody's work: a sweep leaves the handoff for its next
-- look, and dispatch puts it off by a second, so that what stands behind it goes ahead.
create function agency.pass_by_locked_task() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform from public.tasks t where t.handoff_id = old.id for no key update skip locked;
  if found or not exists (select from public.tasks t where t.handoff_id = old.id) then
    return new;
  elsif new.status <> 'in_progress' then
    return null;
  end if;
  new := old;
  new.due := false;
  new.available_at := clock_timestamp() + interval '1 second';
  return new;
end $$;
comment on function agency.pass_by_locked_task is
  'Where a pass would move a handoff whose task is locked elsewhere: put the handoff off, or leave it as it is.';

create trigger agency_1_pass_by_locked_task before update on public.handoffs
  for each row when (
    (new.status = 'in_progress' and old.status = 'pending' and new.held_by is null
      or new.status <> 'in_progress' and old.status <> 'completed' and new.end_reason is distinct from old.end_reason
        and new.end_reason in ('lapsed', 'unaccepted', 'timed_out', 'cancel_grace', 'deadline'))
    and new.context ? 'task_id'
  )
  execute function agency.pass_by_locked_task();

create function agency.keep_task_id() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from public.tasks t where t.handoff_id = old.id) then
    perform coordination.refuse('ZH012',
      format('the context of handoff %s names its task and cannot lose it', old.id),
      'Keep task_id in the context as it is.');
  end if;
  return new;
end $$;
comment on function agency.keep_task_id is 'Refuse a context without the task, by which the task''s triggers know the handoff.';

create trigger agency_2_keep_task_id before update of context on public.handoffs
  for each row when (
    old.context ? 'task_id'
    and new.context -> 'task_id' is distinct from old.context -> 'task_id'
  )
  execute function agency.keep_task_id();

create function agency.task_follows() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  said text := case when new.status = 'pending' and new.end_reason <> 'failed' then new.end_reason else new.last_error end;
  why text := nullif(rtrim(left(btrim(said), 2000), '. '), '');
begin
  if new.status = 'in_progress' and new.accepted_at is null and new.held_by is not null then
    -- Dispatched to an agent that has yet to accept.
    return null;
  elsif new.status = 'pending' and old.status <> 'in_progress' then
    return null;
  end if;
  update public.tasks t
  set status = case
      when new.status = 'in_progress' then 'in_progress'
      when new.outcome = 'succeeded' then 'review'
      else 'todo'
    end,
    note = case
      when new.status = 'pending' then
        format('Attempt %s by %s came to nothing%s. It will be tried again.', new.attempt, old.assigned_agent, ': ' || why)
      when new.outcome = 'cancelled' then format('Cancelled%s.', ': ' || nullif(why, 'cancelled'))
      when new.outcome = 'failed' then
        format('Failed with %s%s.', coalesce(new.assigned_agent, new.to_agent), ': ' || nullif(why, 'failed'))
    end
  where t.handoff_id = new.id;
  return null;
end $$;
comment on function agency.task_follows is
  'A task''s status follows its handoff: in_progress once accepted (or held by an agent that need not accept), review, or back to todo with a note.';

-- The context only tells which handoffs to look at; which task is meant, tasks.handoff_id says, which no agent can write.
create trigger agency_task_follows after update on public.handoffs
  for each row when (
    (new.status <> old.status or (old.accepted_at is null and new.accepted_at is not null))
    and new.context ? 'task_id'
  )
  execute function agency.task_follows();

create function agency.task_is_left() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update public.tasks t
  set handoff_id = null,
    status = case when old.status = 'completed' then t.status else 'todo' end,
    note = case when old.status = 'completed' then t.note else 'Its handoff was deleted.' end
  where t.handoff_id = old.id;
  return null;
end $$;
comment on function agency.task_is_left is 'A deleted handoff leaves its task; where it was not completed, the task goes back to todo.';

create trigger agency_task_is_left after delete on public.handoffs
  for each row when (old.context ? 'task_id')
  execute function agency.task_is_left();

create function agency.tasks_are_left() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update public.tasks t
  set handoff_id = null,
    status = case when t.status = 'in_progress' then 'todo' else t.status end,
    note = case when t.status = 'in_progress' then 'Its handoff was deleted.' else t.note end
  where t.handoff_id is not null;
  return null;
end $$;
comment on function agency.tasks_are_left is 'Truncating the queue leaves every task.';

create trigger agency_tasks_are_left after truncate on public.handoffs
  for each statement execute function agency.tasks_are_left();

do $$
declare
  stranger text;
begin
  foreach stranger in array array['public', 'anon', 'authenticated', 'service_role'] loop
    execute format('revoke execute on function public.create_workspace(text, uuid), public.hand_off_task(uuid, text, text, timestamptz, interval, integer) from %s', stranger);
    execute format('revoke execute on all functions in schema agency from %s', stranger);
  end loop;
end $$;
grant execute on function agency.my_workspaces to authenticated;
grant execute on function public.create_workspace(text, uuid) to authenticated, service_role;
grant usage on schema agency to service_role, coordinator_daemon;
grant execute on function public.hand_off_task(uuid, text, text, timestamptz, interval, integer),
  agency.hand_off_task to service_role, coordinator_daemon;
