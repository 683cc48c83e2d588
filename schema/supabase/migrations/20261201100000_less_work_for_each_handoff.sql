-- The same rules for less of the server's time. What one row costs is mostly how its statement begins: the triggers'
-- WHEN clauses are read from text, functions in SQL are parsed and planned, and so is a query whose kept plan fits no
-- more. docs/decisions/0023-what-a-handoff-costs.md has the figures.

-- A function in SQL is parsed and planned at every call unless it is inlined, which one with settings never is.

create or replace function public.agent_channel(agent_name text) returns text
language plpgsql immutable strict parallel safe set search_path = pg_catalog, pg_temp as $$
begin
  return 'to_' || left(encode(sha256(convert_to(agent_name, 'UTF8')), 'hex'), 32);
end $$;

create or replace function coordination.is_token(h public.handoffs, attempt integer, agent_name text, incarnation uuid) returns boolean
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return h.status = 'in_progress'
    and h.attempt = is_token.attempt
    and h.assigned_agent = is_token.agent_name
    and h.held_by is not distinct from is_token.incarnation;
end $$;

create or replace function public.held_handoff(agent_name text, incarnation uuid default null) returns setof public.handoffs
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  perform coordination.check_login(array[held_handoff.agent_name]);
  return query
  select h.*
  from public.handoffs h
  where h.id = (
    select a.current_handoff
    from public.agent_status a
    where a.agent_name = held_handoff.agent_name
      and a.incarnation is not distinct from held_handoff.incarnation);
end $$;

-- Heartbeats ---------------------------------------------------------------------------------------
-- A plan from quiet days joins by reading all of a table that seemed to hold nothing. What is sought by a value that
-- is there already, an array or an outer row's, is sought by its index.

create or replace function public.heartbeat_many(agent_names text[], incarnation uuid default null)
returns table (agent_name text, status text, blocked_reason text, handoff_id uuid, attempt integer, accepted boolean, cancel_requested boolean)
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms'
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
  passed_over uuid[];
begin
  perform coordination.check_login(heartbeat_many.agent_names);
  with mine as materialized (
    select a.id
    from public.agent_status a
    where a.agent_name = any (heartbeat_many.agent_names)
      and a.incarnation is not distinct from heartbeat_many.incarnation
    order by a.agent_name
    for no key update skip locked
  ), beaten as (
    update public.agent_status a
    set last_seen = now()
    where a.id = any (array(select m.id from mine m))
    returning a.id
  )
  select array_agg(a.id) into passed_over
  from public.agent_status a
  where a.agent_name = any (heartbeat_many.agent_names)
    and a.incarnation is not distinct from heartbeat_many.incarnation
    and a.id <> all (array(select b.id from beaten b));
  if passed_over is not null then
    begin
      update public.agent_status a
      set last_seen = now()
      where a.id = any (passed_over)
        and a.incarnation is not distinct from heartbeat_many.incarnation;
    exception when lock_not_available then
      with free as materialized (
        select a.id
        from public.agent_status a
        where a.id = any (passed_over)
        order by a.agent_name
        for no key update skip locked
      )
      update public.agent_status a
      set last_seen = now()
      from free
      where a.id = free.id;
    end;
  end if;
  return query
  select a.agent_name, a.status, a.blocked_reason, h.id, h.attempt, h.accepted_at is not null, coalesce(h.cancel_requested, false)
  from public.agent_status a
  left join lateral (select * from public.handoffs x where x.id = a.current_handoff offset 0) h on true
  where a.agent_name = any (heartbeat_many.agent_names)
    and a.incarnation is not distinct from heartbeat_many.incarnation;
end $$;

create or replace function public.heartbeat(
  agent_name text,
  incarnation uuid default null,
  handoff_id uuid default null,
  attempt integer default null,
  current_task text default null
) returns table (status text, blocked_reason text, held_handoff uuid, held_attempt integer, should_stop boolean)
language plpgsql security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
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
  left join lateral (select * from public.handoffs x where x.id = a.current_handoff offset 0) h on true
  where a.agent_name = heartbeat.agent_name;
end $$;

-- Who calls ----------------------------------------------------------------------------------------

create or replace function coordination.binding() returns coordination.agent_logins
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  mine coordination.agent_logins;
begin
  select * into mine from coordination.agent_logins l where l.login = session_user;
  if found or not pg_has_role(session_user, to_regrole('coordinator_bound_agent'), 'member') then
    return mine;
  end if;
  -- A login belongs to the server, its binding to one database. In every other one it is nobody. Its membership
  -- is a plain one: a superuser, and whoever made the roles, count as members as well.
  if exists (
    select
    from pg_auth_members m
    where m.roleid = to_regrole('coordinator_bound_agent')
      and m.member = to_regrole(quote_ident(session_user))
      and not m.admin_option)
  then
    mine.login := session_user;
    mine.agent_name := '';
    mine.roles := '{}';
  end if;
  return mine;
end $$;

-- Arrival ------------------------------------------------------------------------------------------

create or replace function coordination.handoff_arrives() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  settings public.coordination_settings;
  parent record;
begin
  if new.status <> 'pending' or new.attempt <> 0 or new.retries <> 0 or new.cancel_requested then
    perform coordination.refuse('ZH005',
      'a handoff is inserted as pending, with attempt 0 and retries 0',
      'Leave status, attempt, retries and cancel_requested out of the insert.');
  end if;
  select * into settings from public.coordination_settings;
  if octet_length(new.task_description) > settings.max_content_bytes then
    perform coordination.check_size('task_description', octet_length(new.task_description));
  elsif octet_length(new.context::text) > settings.max_content_bytes then
    perform coordination.check_size('context', octet_length(new.context::text));
  end if;
  new.created_at := now();
  new.available_at := coalesce(new.available_at, now());
  new.due := new.available_at <= now();
  if new.parent_id is null then
    select a.current_handoff into new.parent_id from public.agent_status a where a.agent_name = new.from_agent;
  end if;
  if new.parent_id is null then
    new.root_id := new.id;
    new.hop := 0;
    return new;
  end if;
  select h.root_id, h.hop into parent from public.handoffs h where h.id = new.parent_id;
  if not found then
    perform coordination.refuse('ZH008',
      format('parent_id %s is no handoff', new.parent_id),
      'Name an existing handoff, or leave parent_id out: then it is what the sender holds, if anything.');
  end if;
  if parent.hop >= settings.max_hops then
    perform coordination.refuse('ZH007',
      format('this handoff would be hop %s; the limit is %s', parent.hop + 1, settings.max_hops),
      'The agents may be handing work round in a circle: look at coordinator handoffs show '
        || parent.root_id || '. Finish the work, or start a new chain by hand.');
  end if;
  new.root_id := parent.root_id;
  new.hop := parent.hop + 1;
  return new;
end $$;

create or replace function coordination.handoffs_queued() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off as $$
declare
  addresses text[];
  delayed boolean;
begin
  insert into public.coordination_events (handoff_id, attempt, event, agent, detail)
  select n.id, 0, 'handoff.queued', null,
    jsonb_strip_nulls(jsonb_build_object(
      'from_agent', n.from_agent, 'to_agent', n.to_agent, 'parent_id', n.parent_id,
      'root_id', n.root_id, 'hop', n.hop, 'priority', n.priority,
      'available_at', case when not n.due then n.available_at end))
  from new_rows n
  order by n.position;

  select array_agg(distinct n.to_agent) filter (where n.due), coalesce(bool_or(not n.due), false)
  into addresses, delayed
  from new_rows n;
  if addresses is not null then
    perform coordination.ring('handoffs', 'queued', 'addresses', addresses);
  end if;
  if delayed then
    perform coordination.ring('handoffs', 'delayed', 'addresses', '{}');
  end if;
  return null;
end $$;

create or replace function coordination.add_handoffs(from_agent text, handoffs jsonb, default_parent uuid)
returns table (handoff_id uuid, repeated boolean, warning text)
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  items jsonb := case jsonb_typeof(handoffs) when 'object' then jsonb_build_array(handoffs) else handoffs end;
  ids uuid[];
  given uuid[];
  added integer;
  clash record;
begin
  perform coordination.check_items(items);
  ids := array(select gen_random_uuid() from jsonb_array_elements(items));

  insert into public.handoffs (id, from_agent, to_agent, task_description, context, priority, available_at,
    deadline_at, timeout, max_attempts, idempotency_key, parent_id, traceparent)
  select i.id, add_handoffs.from_agent, n.to_agent, n.task_description, coalesce(n.context, '{}'),
    coalesce(n.priority, 0), coalesce(n.available_at, now()), n.deadline_at, n.timeout, coalesce(n.max_attempts, 3),
    n.idempotency_key, coalesce(n.parent_id, default_parent), n.traceparent
  from rows from (jsonb_array_elements(items), unnest(ids)) with ordinality as i (item, id, nth)
  cross join lateral jsonb_populate_record(null::coordination.new_handoff, i.item) n
  order by i.nth
  on conflict (from_agent, idempotency_key) where idempotency_key is not null do nothing;
  get diagnostics added = row_count;
  given := ids;

  if added < cardinality(ids) then
    perform
    from public.handoffs k
    where k.from_agent = add_handoffs.from_agent
      and k.idempotency_key in (select i.value ->> 'idempotency_key' from jsonb_array_elements(items) i)
    order by k.id
    for key share;
    select k.id, n.idempotency_key into clash
    from jsonb_array_elements(items) i
    cross join lateral jsonb_populate_record(null::coordination.new_handoff, i.value) n
    join public.handoffs k on k.from_agent = add_handoffs.from_agent and k.idempotency_key = n.idempotency_key
    where (k.to_agent, k.task_description, k.context) is distinct from (n.to_agent, n.task_description, coalesce(n.context, '{}'))
    limit 1;
    if found then
      perform coordination.refuse('ZH009',
        format('idempotency_key %s of %s belongs to handoff %s, which has other content', clash.idempotency_key, add_handoffs.from_agent, clash.id),
        'Use a new key for new work; the same key with the same content returns the first handoff.');
    end if;
    given := array(
      select coalesce(h.id, k.id)
      from rows from (jsonb_array_elements(items), unnest(ids)) with ordinality as i (item, id, nth)
      left join public.handoffs h on h.id = i.id
      left join public.handoffs k on k.from_agent = add_handoffs.from_agent and k.idempotency_key = i.item ->> 'idempotency_key'
      order by i.nth);
  end if;

  -- One after the other, by what an index knows first: an agent of this name, an idle one of this role, any. By
  -- exists they might be hashed: read in full, however few were asked for.
  return query
  select i.given, i.given is distinct from i.id,
    case when (select a.id from public.agent_status a where a.agent_name = i.item ->> 'to_agent') is null
      and (
        select a.id from public.agent_status a
        where a.status = 'idle' and a.roles <> '{}' and a.roles @> array[i.item ->> 'to_agent']
        limit 1) is null
      and (select a.id from public.agent_status a where a.roles @> array[i.item ->> 'to_agent'] limit 1) is null
      then format('no agent answers to %s yet; the handoff waits until one registers', i.item ->> 'to_agent') end
  from rows from (jsonb_array_elements(items), unnest(ids), unnest(given)) with ordinality as i (item, id, given, nth)
  order by i.nth;
end $$;

-- Change -------------------------------------------------------------------------------------------

create or replace function coordination.result_arrives() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  most integer := (select s.max_content_bytes from public.coordination_settings s);
begin
  if octet_length(new.result::text) > most then
    perform coordination.check_size('result', octet_length(new.result::text));
  elsif octet_length(new.last_error) > most then
    perform coordination.check_size('last_error', octet_length(new.last_error));
  elsif octet_length(new.context::text) > most then
    perform coordination.check_size('context', octet_length(new.context::text));
  end if;
  return new;
end $$;

-- The life cycle. Not in the trigger's WHEN clause, whose 17,000 characters every statement would read anew.
create or replace function coordination.refuse_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  -- Null where a column is null that must not be: its constraint says so next.
  legal boolean := new.id = old.id
    and new.from_agent = old.from_agent
    and new.to_agent = old.to_agent
    and new.position = old.position
    and new.root_id = old.root_id
    and new.hop = old.hop
    and new.parent_id is not distinct from old.parent_id
    and new.idempotency_key is not distinct from old.idempotency_key;
begin
  if old.status = 'completed' and new.status = 'completed' then
    legal := legal and old.* is not distinct from new.*;
  elsif old.status = 'completed' then
    legal := legal and new.status = 'pending' and new.retries = old.retries + 1 and new.attempt = old.attempt;
  elsif old.status = 'pending' and new.status = 'in_progress' then
    legal := legal and new.attempt = old.attempt + 1 and old.due and new.retries = old.retries;
  else
    legal := legal and new.attempt = old.attempt and new.retries = old.retries
      and case
        when old.status = 'pending' and new.status = 'completed' then
          new.outcome in ('cancelled', 'failed')
        when old.status = 'in_progress' and new.status = 'in_progress' then
          new.assigned_agent = old.assigned_agent and new.held_by is not distinct from old.held_by
          and (old.accepted_at is null or new.accepted_at is not null)
        when old.status = 'in_progress' and new.status = 'completed' then
          new.assigned_agent = old.assigned_agent
        else
          new.assigned_agent is null
      end;
  end if;
  if legal is not false then
    return new;
  end if;

  if (old.status = new.status and old.status <> 'completed')
    or (new.id, new.from_agent, new.to_agent, new.position, new.root_id, new.hop, new.attempt)
      <> (old.id, old.from_agent, old.to_agent, old.position, old.root_id, old.hop, old.attempt)
        and new.status <> 'in_progress'
    or new.parent_id is distinct from old.parent_id
    or new.idempotency_key is distinct from old.idempotency_key
  then
    perform coordination.refuse('ZH012',
      format('handoff %s: identity, sender, address, lineage, attempt and holder do not change by themselves', old.id),
      'Insert another handoff, or call the functions: accept_handoff, complete_handoff, fail_handoff, cancel_handoff.');
  elsif old.status = 'completed' then
    perform coordination.refuse('ZH005',
      format('handoff %s is completed (%s), and that is final', old.id, old.outcome),
      'An operator may reopen it: coordinator handoffs retry ' || old.id || '.');
  elsif new.status = 'in_progress' then
    perform coordination.refuse('ZH005',
      format('handoff %s: only the coordinator moves a handoff from pending to in_progress', old.id),
      'Register as an agent, be idle, and wait for your channel: select agent_channel(''your name'').');
  elsif old.status = 'pending' then
    perform coordination.refuse('ZH005',
      format('handoff %s is pending: nobody works on it, so it cannot have %s', old.id, coalesce(new.outcome, new.status)),
      'Wait until it is dispatched, or call cancel_handoff.');
  end if;
  perform coordination.refuse('ZH005',
    format('handoff %s cannot go from %s to %s like this', old.id, old.status, new.status),
    'To give it back call fail_handoff with its id and attempt.');
  return null;
end $$;
comment on function coordination.refuse_change is 'Let a legal change of a handoff pass; say why another one is illegal.';

create or replace trigger handoffs_3_refuse before update on public.handoffs
  for each row execute function coordination.refuse_change();

create or replace function coordination.free_agents(agent_names text[], handoff_ids uuid[], forced boolean[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  freed text[];
begin
  -- In the order of their names, as heartbeat_many locks them: a plan might take them as they lie.
  if cardinality(agent_names) > 1 then
    perform from public.agent_status a where a.agent_name = any (agent_names) order by a.agent_name for no key update;
  end if;
  with free as (
    update public.agent_status a
    set current_handoff = null,
      status = case when a.status <> 'working' then a.status when d.forced then 'blocked' else 'idle' end,
      blocked_reason = case when a.status <> 'working' then a.blocked_reason when d.forced then 'unresponsive' end,
      status_since = case when a.status = 'working' then now() else a.status_since end
    from unnest(agent_names, handoff_ids, forced) as d (agent_name, handoff_id, forced)
    where a.agent_name = any (agent_names)
      and a.agent_name = d.agent_name
      and a.current_handoff = d.handoff_id
    returning a.agent_name, a.status
  )
  select array_agg(f.agent_name) into freed from free f where f.status = 'idle';
  if freed is not null then
    perform coordination.ring('agent_status', 'idle', 'agents', freed);
  end if;
end $$;

create or replace function coordination.handoffs_changed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
-- A plan cached on quiet days joins the transition tables by nested loop, seventy times slower in a burst.
set enable_nestloop = off set enable_seqscan = off set plan_cache_mode = force_generic_plan set jit = off as $$
declare
  takers text[]; taken uuid[];
  leavers text[]; ended uuid[]; forced boolean[];
  addresses text[]; delayed boolean; heard boolean;
  engaged integer;
begin
  insert into public.coordination_events (handoff_id, attempt, event, agent, detail)
  select n.id, n.attempt, e.event, coalesce(n.assigned_agent, o.assigned_agent),
    jsonb_strip_nulls(jsonb_build_object(
      'from_agent', n.from_agent, 'to_agent', n.to_agent, 'root_id', n.root_id,
      'incarnation', case when n.status = 'in_progress' then n.held_by end,
      'reason', case when e.event in ('handoff.taken_back', 'handoff.attempt_failed', 'handoff.failed', 'handoff.cancelled')
        then n.end_reason end,
      'error', case when e.event in ('handoff.taken_back', 'handoff.attempt_failed', 'handoff.failed', 'handoff.cancelled')
        then left(n.last_error, 2000) end,
      'available_at', case when n.status = 'pending' and not n.due then n.available_at end,
      'waited_s', case when e.event = 'handoff.dispatched'
        then round(extract(epoch from clock_timestamp() - greatest(o.available_at, o.created_at)), 6) end,
      'held_s', case when o.status = 'in_progress' and n.status <> 'in_progress'
        then round(extract(epoch from clock_timestamp() - o.dispatched_at), 6) end))
  from old_rows o
  join new_rows n on n.id = o.id
  cross join lateral (select case
    when o.status = 'pending' and n.status = 'in_progress' then 'handoff.dispatched'
    when o.status = 'completed' and n.status = 'pending' then 'handoff.reopened'
    when o.status <> 'completed' and n.status = 'completed' then 'handoff.' || n.outcome
    when o.status = 'in_progress' and n.status = 'pending' then
      case when n.end_reason = 'failed' then 'handoff.attempt_failed' else 'handoff.taken_back' end
    when o.accepted_at is null and n.accepted_at is not null then 'handoff.accepted'
    when n.cancel_requested and not o.cancel_requested then 'handoff.cancel_requested'
  end) as e (event)
  where e.event is not null
  order by n.position;
  if not found then
    if not exists (select from new_rows n where n.status = 'pending') then
      return null;
    end if;
  end if;

  select
    array_agg(n.assigned_agent order by n.assigned_agent) filter (where o.status = 'pending' and n.status = 'in_progress'),
    array_agg(n.id order by n.assigned_agent) filter (where o.status = 'pending' and n.status = 'in_progress'),
    array_agg(o.assigned_agent order by o.assigned_agent) filter (where o.status = 'in_progress' and n.status <> 'in_progress'),
    array_agg(o.id order by o.assigned_agent) filter (where o.status = 'in_progress' and n.status <> 'in_progress'),
    array_agg(coalesce(n.end_reason in ('unaccepted', 'timed_out', 'cancel_grace', 'deadline'), false) order by o.assigned_agent)
      filter (where o.status = 'in_progress' and n.status <> 'in_progress'),
    array_agg(distinct n.to_agent) filter (where n.status = 'pending' and n.due and not (o.status = 'pending' and o.due)),
    coalesce(bool_or(n.status = 'pending' and not n.due and not (o.status = 'pending' and o.available_at = n.available_at)), false),
    coalesce(bool_or(n.status <> o.status or n.cancel_requested), false)
  into takers, taken, leavers, ended, forced, addresses, delayed, heard
  from old_rows o
  join new_rows n on n.id = o.id;

  if takers is not null then
    -- By = any: a join alone would read the whole table of agents where a nested loop is not allowed.
    update public.agent_status a
    set status = 'working', current_handoff = d.handoff_id, status_since = now()
    from unnest(takers, taken) as d (agent_name, handoff_id)
    where a.agent_name = any (takers)
      and a.agent_name = d.agent_name
      and a.status = 'idle'
      and a.current_handoff is null;
    get diagnostics engaged = row_count;
    if engaged <> cardinality(takers) then
      perform coordination.refuse('ZH005',
        format('of the agents %s not all are idle', takers),
        'Dispatch gives a handoff to an idle agent that holds nothing.');
    end if;
  end if;
  if leavers is not null then
    perform coordination.free_agents(leavers, ended, forced);
  end if;
  if addresses is not null then
    perform coordination.ring('handoffs', 'queued', 'addresses', addresses);
  end if;
  if delayed then
    perform coordination.ring('handoffs', 'delayed', 'addresses', '{}');
  end if;

  -- The holder hears what it got, what it should stop and what it lost; the sender hears the end.
  if not heard then
    return null;
  end if;
  perform pg_notify(
    public.agent_channel(t.agent_name),
    jsonb_build_object('event', t.event, 'handoff_id', n.id, 'attempt', n.attempt)::text)
  from old_rows o
  join new_rows n on n.id = o.id
  cross join lateral (values
    (case when o.status = 'pending' and n.status = 'in_progress' then n.assigned_agent end, 'dispatched'),
    (case when n.status = 'in_progress' and n.cancel_requested and not o.cancel_requested
      then n.assigned_agent end, 'cancel_requested'),
    (case when o.status = 'in_progress' and n.status <> 'in_progress' and n.end_reason not in ('settled', 'failed')
      then o.assigned_agent end, 'taken_back'),
    (case when o.status <> 'completed' and n.status = 'completed' then n.from_agent end, n.outcome)
  ) as t (agent_name, event)
  where t.agent_name is not null;
  return null;
end $$;

create or replace function coordination.handoffs_deleted() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
set enable_nestloop = off set enable_seqscan = off set plan_cache_mode = force_generic_plan set jit = off as $$
declare
  leavers text[]; ended uuid[];
begin
  insert into public.coordination_events (handoff_id, attempt, event, agent, detail)
  select o.id, o.attempt, 'handoff.deleted', o.assigned_agent,
    jsonb_build_object('from_agent', o.from_agent, 'to_agent', o.to_agent, 'root_id', o.root_id, 'reason', o.status)
  from old_rows o
  order by o.position;
  select array_agg(o.assigned_agent order by o.assigned_agent), array_agg(o.id order by o.assigned_agent)
  into leavers, ended
  from old_rows o
  where o.status = 'in_progress';
  if leavers is not null then
    perform coordination.free_agents(leavers, ended, array_fill(false, array[cardinality(ended)]));
    perform pg_notify(
      public.agent_channel(d.agent_name),
      jsonb_build_object('event', 'taken_back', 'handoff_id', d.handoff_id)::text)
    from unnest(leavers, ended) as d (agent_name, handoff_id);
  end if;
  return null;
end $$;

-- Plans --------------------------------------------------------------------------------------------
-- A plan is kept for as long as its session, and one made when a table was seen empty scans it from end to end
-- when it is full. Here one plan is good for every value, and looking for it anew would cost more than to run it.
-- Without JIT: before PostgreSQL 18 a scan that cannot be avoided is priced at ten thousand millions, and compiled.

alter function public.register_agent
  set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan;
alter function public.set_agent_status
  set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan;
alter function public.leave
  set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan;
alter function public.hand_off_many
  set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan;
alter function public.accept_handoff
  set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan;
alter function public.report_progress
  set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan;
alter function public.complete_handoff
  set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan;
alter function public.fail_handoff
  set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan;
alter function public.cancel_handoff
  set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan;
alter function public.retry_handoff
  set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan;
