-- Logins that are one agent and no other. `session_user` decides: it stays the same in functions that run with
-- their owner's rights and after SET ROLE, and a login cannot change its own. A login without a binding acts as
-- before: for every agent whose name it gives.

do $$
begin
  create role coordinator_bound_agent nologin;
exception when duplicate_object or unique_violation then
  null;
end $$;

create table coordination.agent_logins (
  login name constraint agent_logins_pkey primary key,
  agent_name text not null
    constraint bound_agent_name_must_be_1_to_128_printable_characters
      check (agent_name ~ '^[^[:cntrl:]]{1,128}$' and agent_name = btrim(agent_name)),
  roles text[] not null default '{}'
    constraint bound_roles_must_not_hold_null check (array_position(roles, null) is null),
  created_at timestamptz not null default now()
);
comment on table coordination.agent_logins is
  'Which login is which agent, and which roles it may answer to. Only the owner writes it: coordinator agents create-login.';

create function coordination.binding() returns coordination.agent_logins
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  mine coordination.agent_logins;
begin
  select * into mine from coordination.agent_logins l where l.login = session_user;
  -- A login belongs to the server, its binding to one database. In every other one it is nobody. Its membership
  -- is a plain one: a superuser, and whoever made the roles, count as members as well.
  if not found
    and pg_has_role(session_user, to_regrole('coordinator_bound_agent'), 'member')
    and exists (
      select
      from pg_auth_members m
      join pg_roles r on r.oid = m.member
      where m.roleid = to_regrole('coordinator_bound_agent')
        and r.rolname = session_user
        and not m.admin_option)
  then
    mine.login := session_user;
    mine.agent_name := '';
    mine.roles := '{}';
  end if;
  return mine;
end $$;
comment on function coordination.binding is
  'Who the session''s login is bound to; all null where it is not bound, and an empty name where it is bound elsewhere.';

create function coordination.check_login(agent_names text[], roles text[] default '{}') returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  mine coordination.agent_logins := coordination.binding();
begin
  if mine.login is null then
    return;
  elsif mine.agent_name = '' then
    perform coordination.refuse('ZH013',
      format('login %s is bound to an agent of another database', mine.login),
      'Connect to that database, or ask the operator for a login here: coordinator agents create-login.');
  elsif (agent_names <@ array[mine.agent_name]) is not true then
    perform coordination.refuse('ZH013',
      format('login %s is agent %s and cannot act as %s', mine.login, mine.agent_name, array_to_string(agent_names, ', ', 'null')),
      'Call with its own name, or ask the operator for a login of the other one: coordinator agents create-login.');
  elsif (check_login.roles <@ mine.roles) is not true then
    perform coordination.refuse('ZH013',
      format('login %s may answer to the roles %s, not to %s', mine.login, mine.roles, check_login.roles),
      'Leave the others out, or ask the operator for a login with these roles: coordinator agents create-login --role.');
  end if;
end $$;
comment on function coordination.check_login is
  'Refuse (ZH013) a call for other agents, or for other roles, than those that the session''s login is bound to.';

-- The functions, each asking first who calls ------------------------------------------------------

create or replace function public.register_agent(
  agent_name text,
  incarnation uuid default null,
  roles text[] default '{}',
  metadata jsonb default '{}',
  current_task text default null
) returns public.agent_status
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  agent public.agent_status;
begin
  perform coordination.check_login(array[register_agent.agent_name], register_agent.roles);
  insert into public.agent_status (agent_name, incarnation, roles, metadata, current_task)
  values (register_agent.agent_name, register_agent.incarnation, register_agent.roles, register_agent.metadata, register_agent.current_task)
  on conflict (agent_name) do nothing
  returning * into agent;
  if found then
    return agent;
  end if;
  agent := coordination.lock_agent(register_agent.agent_name);
  if agent.current_handoff is not null and agent.incarnation is distinct from register_agent.incarnation then
    perform coordination.take_back(array[agent.current_handoff], 'replaced');
  end if;
  update public.agent_status a
  set incarnation = register_agent.incarnation,
    roles = register_agent.roles,
    metadata = register_agent.metadata,
    current_task = register_agent.current_task,
    last_seen = now(),
    registered_at = clock_timestamp(),
    status = case when a.current_handoff is null then 'idle' else 'working' end
  where a.agent_name = register_agent.agent_name
  returning * into agent;
  return agent;
end $$;

create or replace function public.heartbeat_many(agent_names text[], incarnation uuid default null)
returns table (agent_name text, status text, blocked_reason text, handoff_id uuid, attempt integer, accepted boolean, cancel_requested boolean)
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select coordination.check_login(heartbeat_many.agent_names);
  with mine as materialized (
    select a.id
    from public.agent_status a
    where a.agent_name = any (heartbeat_many.agent_names)
      and a.incarnation is not distinct from heartbeat_many.incarnation
    order by a.agent_name
    for no key update
  ), beaten as (
    update public.agent_status a
    set last_seen = now()
    from mine
    where a.id = mine.id
    returning a.agent_name, a.status, a.blocked_reason, a.current_handoff
  )
  select b.agent_name, b.status, b.blocked_reason, h.id, h.attempt, h.accepted_at is not null, coalesce(h.cancel_requested, false)
  from beaten b
  left join public.handoffs h on h.id = b.current_handoff
$$;

create or replace function public.heartbeat(
  agent_name text,
  incarnation uuid default null,
  handoff_id uuid default null,
  attempt integer default null,
  current_task text default null
) returns table (status text, blocked_reason text, held_handoff uuid, held_attempt integer, should_stop boolean)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform coordination.check_login(array[heartbeat.agent_name]);
  update public.agent_status a
  set last_seen = now(),
    current_task = coalesce(heartbeat.current_task, a.current_task)
  where a.agent_name = heartbeat.agent_name
    and a.incarnation is not distinct from heartbeat.incarnation;
  if not found then
    perform coordination.check_incarnation(heartbeat.agent_name, heartbeat.incarnation);
  end if;
  return query
  select a.status, a.blocked_reason, h.id, h.attempt,
    heartbeat.handoff_id is not null
      and ((h.id, h.attempt) is distinct from (heartbeat.handoff_id, heartbeat.attempt) or h.cancel_requested)
  from public.agent_status a
  left join public.handoffs h on h.id = a.current_handoff
  where a.agent_name = heartbeat.agent_name;
end $$;

create or replace function public.set_agent_status(
  agent_name text,
  status text,
  incarnation uuid default null,
  reason text default null,
  current_task text default null
) returns public.agent_status
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  agent public.agent_status;
begin
  perform coordination.check_login(array[set_agent_status.agent_name]);
  if reason in ('stale', 'left', 'unresponsive') then
    perform coordination.refuse('ZH006', format('blocked_reason %s is reserved', reason), 'Say it in other words.');
  end if;
  update public.agent_status a
  set status = set_agent_status.status,
    blocked_reason = case when set_agent_status.status = 'blocked' then coalesce(set_agent_status.reason, 'said') end,
    current_task = coalesce(set_agent_status.current_task, a.current_task),
    last_seen = now()
  where a.agent_name = set_agent_status.agent_name
    and a.incarnation is not distinct from set_agent_status.incarnation
  returning * into agent;
  if not found then
    perform coordination.check_incarnation(agent_name, incarnation);
  end if;
  return agent;
end $$;

create or replace function public.leave(agent_name text, incarnation uuid default null) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  agent public.agent_status;
begin
  perform coordination.check_login(array[leave.agent_name]);
  agent := coordination.lock_agent(leave.agent_name);
  perform coordination.check_incarnation(leave.agent_name, leave.incarnation);
  if agent.current_handoff is not null then
    perform coordination.take_back(array[agent.current_handoff], 'left');
  end if;
  update public.agent_status a
  set status = 'blocked', blocked_reason = 'left'
  where a.agent_name = leave.agent_name;
end $$;

create or replace function public.hand_off_many(from_agent text, handoffs jsonb, incarnation uuid default null)
returns table (handoff_id uuid, repeated boolean, warning text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform coordination.check_login(array[hand_off_many.from_agent]);
  if incarnation is not null then
    perform coordination.check_incarnation(from_agent, incarnation);
  end if;
  return query select * from coordination.add_handoffs(from_agent, handoffs, null);
end $$;

create or replace function public.hand_off(
  from_agent text,
  to_agent text,
  task_description text,
  context jsonb default '{}',
  priority integer default 0,
  available_at timestamptz default null,
  deadline_at timestamptz default null,
  timeout interval default null,
  max_attempts integer default 3,
  idempotency_key text default null,
  parent_id uuid default null,
  traceparent text default null,
  incarnation uuid default null,
  will_wait boolean default false
) returns table (handoff_id uuid, repeated boolean, warning text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if will_wait then
    perform public.check_wait(from_agent, to_agent);
  end if;
  return query
  select * from public.hand_off_many(
    from_agent,
    jsonb_build_array(jsonb_build_object(
      'to_agent', to_agent, 'task_description', task_description, 'context', context, 'priority', priority,
      'available_at', available_at, 'deadline_at', deadline_at, 'timeout', timeout, 'max_attempts', max_attempts,
      'idempotency_key', idempotency_key, 'parent_id', parent_id, 'traceparent', traceparent)),
    incarnation);
end $$;

create or replace function public.check_wait(agent_name text, to_agent text) returns void
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coordination.check_login(array[check_wait.agent_name]);
  select coordination.check_wait(agent_name, to_agent)
$$;

create or replace function public.accept_handoff(handoff_id uuid, attempt integer, agent_name text, incarnation uuid default null)
returns public.handoffs
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  h public.handoffs;
begin
  perform coordination.check_login(array[accept_handoff.agent_name]);
  h := coordination.lock_handoff(handoff_id);
  if not coordination.is_token(h, accept_handoff.attempt, agent_name, incarnation) then
    perform coordination.refuse_token(h, accept_handoff.attempt, agent_name, incarnation);
  end if;
  if h.accepted_at is null then
    update public.handoffs x
    set accepted_at = now(), attempt_ends_at = now() + x.timeout
    where x.id = h.id
    returning * into h;
  end if;
  return h;
end $$;

create or replace function public.report_progress(
  handoff_id uuid, attempt integer, agent_name text, incarnation uuid default null,
  note text default null, detail jsonb default '{}'
) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  h public.handoffs;
begin
  perform coordination.check_login(array[report_progress.agent_name]);
  select * into h from public.handoffs x where x.id = report_progress.handoff_id for share;
  if not found then
    h := coordination.lock_handoff(handoff_id);
  end if;
  if not coordination.is_token(h, report_progress.attempt, agent_name, incarnation) then
    perform coordination.refuse_token(h, report_progress.attempt, agent_name, incarnation);
  end if;
  perform coordination.check_size('detail', octet_length(report_progress.detail::text) + coalesce(octet_length(note), 0));
  insert into public.coordination_events (handoff_id, attempt, event, agent, detail)
  values (h.id, h.attempt, 'handoff.progressed', agent_name,
    jsonb_strip_nulls(jsonb_build_object('note', note, 'root_id', h.root_id))
      || case when report_progress.detail = '{}' then '{}' else jsonb_build_object('progress', report_progress.detail) end);
  return h.cancel_requested;
end $$;

create or replace function public.complete_handoff(
  handoff_id uuid, attempt integer, agent_name text, incarnation uuid default null,
  result jsonb default null, follow_ups jsonb default '[]'
) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  h public.handoffs;
begin
  perform coordination.check_login(array[complete_handoff.agent_name]);
  h := coordination.lock_handoff(handoff_id);
  if coordination.is_token(h, complete_handoff.attempt, agent_name, incarnation) then
    if follow_ups <> '[]' then
      perform coordination.add_handoffs(agent_name, follow_ups, h.id);
    end if;
    update public.handoffs x
    set status = 'completed', outcome = 'succeeded', result = complete_handoff.result, finished_at = now(),
      accepted_at = coalesce(x.accepted_at, now()), attempt_ends_at = null, held_by = null, end_reason = 'settled'
    where x.id = h.id;
    return 'applied';
  end if;
  if coordination.was_settled(h.id, complete_handoff.attempt, agent_name, incarnation, array['handoff.succeeded'], null) then
    return 'repeated';
  end if;
  return coordination.keep_late_word(h, complete_handoff.attempt, agent_name, incarnation,
    jsonb_build_object('word', 'complete', 'result', complete_handoff.result));
end $$;

create or replace function public.fail_handoff(
  handoff_id uuid, attempt integer, agent_name text, incarnation uuid default null,
  error text default null, retry boolean default true, retry_in interval default null, result jsonb default null
) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  h public.handoffs;
  again timestamptz;
begin
  perform coordination.check_login(array[fail_handoff.agent_name]);
  h := coordination.lock_handoff(handoff_id);
  if coordination.is_token(h, fail_handoff.attempt, agent_name, incarnation) then
    perform coordination.check_size('error', octet_length(error));
    if retry and h.attempt < h.max_attempts and not h.cancel_requested then
      again := now() + greatest(coalesce(retry_in, coordination.pause_after(h.attempt)), interval '0');
      update public.handoffs x
      set status = 'pending', available_at = again, due = again <= now(), assigned_agent = null, held_by = null,
        dispatched_at = null, accepted_at = null, attempt_ends_at = null, result = null, last_error = error, end_reason = 'failed'
      where x.id = h.id;
    else
      update public.handoffs x
      set status = 'completed', outcome = case when h.cancel_requested then 'cancelled' else 'failed' end,
        finished_at = now(), accepted_at = coalesce(x.accepted_at, now()), attempt_ends_at = null, held_by = null,
        result = fail_handoff.result, last_error = error, end_reason = 'failed'
      where x.id = h.id;
    end if;
    return 'applied';
  end if;
  if coordination.was_settled(h.id, fail_handoff.attempt, agent_name, incarnation,
    array['handoff.attempt_failed', 'handoff.failed', 'handoff.cancelled'], array['failed'])
  then
    return 'repeated';
  end if;
  return coordination.keep_late_word(h, fail_handoff.attempt, agent_name, incarnation,
    jsonb_build_object('word', 'fail', 'error', left(error, 2000), 'result', fail_handoff.result));
end $$;

create or replace function public.cancel_handoff(handoff_id uuid, reason text default null) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  mine coordination.agent_logins := coordination.binding();
  h public.handoffs := coordination.lock_handoff(handoff_id);
begin
  if mine.login is not null and (mine.agent_name in (h.from_agent, h.assigned_agent)) is not true then
    perform coordination.refuse('ZH013',
      format('login %s is agent %s, which neither sent nor holds handoff %s', mine.login, mine.agent_name, h.id),
      'Its sender, its holder or an operator may cancel it: coordinator handoffs cancel ' || h.id || '.');
  end if;
  perform coordination.check_size('reason', octet_length(reason));
  if h.status = 'completed' then
    return 'completed';
  elsif h.status = 'pending' or (h.held_by is not null and h.accepted_at is null) then
    update public.handoffs x
    set status = 'completed', outcome = 'cancelled', finished_at = now(), held_by = null, attempt_ends_at = null,
      end_reason = 'cancelled', last_error = cancel_handoff.reason
    where x.id = h.id;
    return 'cancelled';
  end if;
  update public.handoffs x
  set cancel_requested = true, cancel_requested_at = now(), last_error = cancel_handoff.reason
  where x.id = h.id
    and not x.cancel_requested;
  return 'requested';
end $$;

create or replace function public.get_handoff(handoff_id uuid) returns setof public.handoffs
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select h.*
  from public.handoffs h
  cross join coordination.binding() mine
  where h.id = get_handoff.handoff_id
    and (mine.login is null
      or mine.agent_name in (h.from_agent, h.to_agent, h.assigned_agent)
      or h.to_agent = any (mine.roles))
$$;
comment on function public.get_handoff is
  'One handoff''s row; no row for an unknown id, or for a bound login that neither sent it, nor holds or held it, nor is addressed by it.';

create or replace function public.held_handoff(agent_name text, incarnation uuid default null) returns setof public.handoffs
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coordination.check_login(array[held_handoff.agent_name]);
  select h.*
  from public.agent_status a
  join public.handoffs h on h.id = a.current_handoff
  where a.agent_name = held_handoff.agent_name
    and a.incarnation is not distinct from held_handoff.incarnation
$$;

-- Plain SQL: rows ----------------------------------------------------------------------------------
-- The owner passes by, and with it the functions and triggers; a role without a policy sees nothing, whatever it
-- was granted. What does not depend on a row stands in a subquery, which runs once a statement.

alter table public.agent_status enable row level security;
alter table public.handoffs enable row level security;

create policy daemon_does_all on public.agent_status to coordinator_daemon using (true) with check (true);
create policy daemon_does_all on public.handoffs to coordinator_daemon using (true) with check (true);

-- A notice board: who is there, and what each says that it does.
create policy plain_agent_reads on public.agent_status for select to coordinator_plain_agent using (true);

create policy plain_agent_arrives on public.agent_status for insert to coordinator_plain_agent
  with check (
    (select (coordination.binding()).login) is null
    or agent_name = (select (coordination.binding()).agent_name)
      and roles <@ (select (coordination.binding()).roles)
  );

create policy plain_agent_speaks on public.agent_status for update to coordinator_plain_agent
  using (
    (select (coordination.binding()).login) is null
    or agent_name = (select (coordination.binding()).agent_name)
  )
  with check (
    (select (coordination.binding()).login) is null
    or agent_name = (select (coordination.binding()).agent_name)
      and roles <@ (select (coordination.binding()).roles)
  );

create policy plain_agent_reads on public.handoffs for select to coordinator_plain_agent
  using (
    (select (coordination.binding()).login) is null
    or from_agent = (select (coordination.binding()).agent_name)
    or assigned_agent = (select (coordination.binding()).agent_name)
    or to_agent = (select (coordination.binding()).agent_name)
    or to_agent = any ((select (coordination.binding()).roles)::text[])
  );

create policy plain_agent_sends on public.handoffs for insert to coordinator_plain_agent
  with check (
    (select (coordination.binding()).login) is null
    or from_agent = (select (coordination.binding()).agent_name)
  );

-- It ends what it holds, and withdraws what it sent and nobody holds.
create policy plain_agent_ends on public.handoffs for update to coordinator_plain_agent
  using (
    (select (coordination.binding()).login) is null
    or assigned_agent = (select (coordination.binding()).agent_name)
    or from_agent = (select (coordination.binding()).agent_name) and status = 'pending'
  )
  with check (
    (select (coordination.binding()).login) is null
    or (select (coordination.binding()).agent_name) in (assigned_agent, from_agent)
  );

-- Nothing is open by default ---------------------------------------------------------------------

do $$
declare
  stranger text;
begin
  for stranger in
    select 'public' union all select quote_ident(r.rolname) from pg_roles r where r.rolname in ('anon', 'authenticated')
  loop
    execute format('revoke all on coordination.agent_logins from %s', stranger);
    execute format('revoke execute on function coordination.binding, coordination.check_login from %s', stranger);
  end loop;
end $$;

grant select on coordination.agent_logins to coordinator_daemon;
-- The policies ask it with the rights of whoever reads. It tells a login about itself alone.
grant execute on function coordination.binding to coordinator_plain_agent;
