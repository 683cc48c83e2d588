-- The agent's interface, callable from any language and through PostgREST as RPC.
-- Each function runs with its owner's rights, so that an agent needs no right on the tables.
-- Locks are taken handoff first, then agent.

-- Parts -----------------------------------------------------------------------------------------

create function coordination.lock_agent(agent_name text) returns public.agent_status
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  agent public.agent_status;
  held uuid;
begin
  loop
    select a.current_handoff into held from public.agent_status a where a.agent_name = lock_agent.agent_name;
    perform from public.handoffs h where h.id = held for update;
    begin
      select * into agent from public.agent_status a where a.agent_name = lock_agent.agent_name for update;
      if agent.current_handoff is null or agent.current_handoff = held then
        return agent;
      end if;
      -- Dispatched in between. Leaving this block by an exception lets the agent go again.
      raise exception using errcode = 'ZH099';
    exception when sqlstate 'ZH099' then
      null;
    end;
  end loop;
end $$;
comment on function coordination.lock_agent is
  'Lock what an agent holds, then the agent, and return it; a null row where there is none.';

create function coordination.check_incarnation(agent_name text, incarnation uuid) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  agent public.agent_status;
begin
  select * into agent from public.agent_status a where a.agent_name = check_incarnation.agent_name;
  if not found then
    perform coordination.refuse('ZH003',
      format('there is no agent %s', check_incarnation.agent_name), 'Call register_agent first.');
  elsif agent.incarnation is distinct from check_incarnation.incarnation then
    perform coordination.refuse('ZH002',
      format('another process has registered as agent %s', check_incarnation.agent_name),
      'Stop this one, or give it a name of its own. It must not register again: the two would rob each other.');
  end if;
end $$;
comment on function coordination.check_incarnation is 'Refuse the call of a life that is over: ZH002, or ZH003 for an unknown agent.';

create function coordination.take_back(handoff_ids uuid[], reason text) returns integer
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  taken integer;
begin
  update public.handoffs h
  set status = case when v.outcome is null then 'pending' else 'completed' end,
    outcome = v.outcome,
    finished_at = case when v.outcome is not null then now() end,
    assigned_agent = case when v.outcome is not null then h.assigned_agent end,
    dispatched_at = case when v.outcome is not null then h.dispatched_at end,
    accepted_at = case when v.outcome is not null then h.accepted_at end,
    attempt_ends_at = null,
    result = case when v.outcome is not null then h.result end,
    held_by = null,
    due = true,
    end_reason = take_back.reason,
    last_error = format('attempt %s was taken back: %s', h.attempt, take_back.reason)
  from public.handoffs was
  cross join lateral (select case
    when was.cancel_requested then 'cancelled'
    when was.attempt >= was.max_attempts then 'failed'
  end) as v (outcome)
  where h.id = any (handoff_ids)
    and was.id = h.id
    and h.status = 'in_progress';
  get diagnostics taken = row_count;
  return taken;
end $$;
comment on function coordination.take_back is
  'Take attempts back, at once due again in their old place; failed where attempts are used up, cancelled where that was asked. Lock the rows first.';

create function coordination.end_handoffs(handoff_ids uuid[], outcome text, reason text) returns integer
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  ended integer;
begin
  update public.handoffs h
  set status = 'completed', outcome = end_handoffs.outcome, finished_at = now(), held_by = null,
    attempt_ends_at = null, end_reason = end_handoffs.reason, last_error = end_handoffs.reason
  where h.id = any (handoff_ids)
    and h.status <> 'completed';
  get diagnostics ended = row_count;
  return ended;
end $$;
comment on function coordination.end_handoffs is 'End handoffs for good, whatever their state, as failed or cancelled. Lock the rows first.';

create function coordination.check_wait(agent_name text, to_agent text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  ancestor record;
begin
  with recursive ancestors as (
    select h.id, h.parent_id, h.status, h.assigned_agent
    from public.agent_status a
    join public.handoffs h on h.id = a.current_handoff
    where a.agent_name = check_wait.agent_name
    union all
    select h.id, h.parent_id, h.status, h.assigned_agent
    from ancestors c
    join public.handoffs h on h.id = c.parent_id
  )
  select c.id, c.assigned_agent into ancestor
  from ancestors c
  join public.agent_status holder on holder.agent_name = c.assigned_agent
  where c.status = 'in_progress'
    and (holder.agent_name = check_wait.to_agent or holder.roles @> array[check_wait.to_agent])
    and not exists (
      select from public.agent_status other
      where other.agent_name <> holder.agent_name
        and (other.agent_name = check_wait.to_agent or other.roles @> array[check_wait.to_agent])
        and not exists (select from ancestors busy where busy.assigned_agent = other.agent_name and busy.status = 'in_progress'))
  limit 1;
  if found then
    perform coordination.refuse('ZH010',
      format('%s would wait for ever: %s holds %s, an ancestor of this work, and an agent holds one handoff at a time',
        check_wait.agent_name, ancestor.assigned_agent, ancestor.id),
      'Hand it off without waiting, complete with a follow-up, or address another agent.');
  end if;
end $$;
comment on function coordination.check_wait is
  'Refuse to wait, while holding a handoff, for an agent that itself holds an ancestor of it (ZH010).';

create type coordination.new_handoff as (
  to_agent text, task_description text, context jsonb, priority integer, available_at timestamptz,
  deadline_at timestamptz, timeout interval, max_attempts integer, idempotency_key text,
  parent_id uuid, traceparent text
);
comment on type coordination.new_handoff is 'One element of hand_off_many and of follow_ups: these keys and no others.';

create function coordination.add_handoffs(from_agent text, handoffs jsonb, default_parent uuid)
returns table (handoff_id uuid, repeated boolean, warning text)
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  items jsonb := case jsonb_typeof(handoffs) when 'object' then jsonb_build_array(handoffs) else handoffs end;
  ids uuid[];
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

  if added < cardinality(ids) then
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
  end if;

  return query
  select coalesce(h.id, k.id), h.id is null,
    case when not exists (
      select from public.agent_status a where a.agent_name = i.item ->> 'to_agent' or a.roles @> array[i.item ->> 'to_agent'])
      then format('no agent answers to %s yet; the handoff waits until one registers', i.item ->> 'to_agent') end
  from rows from (jsonb_array_elements(items), unnest(ids)) with ordinality as i (item, id, nth)
  left join public.handoffs h on h.id = i.id
  left join public.handoffs k on k.from_agent = add_handoffs.from_agent and k.idempotency_key = i.item ->> 'idempotency_key'
  order by i.nth;
end $$;
comment on function coordination.add_handoffs is
  'Insert handoffs in their order; a known idempotency key returns its first handoff, marked as repeated.';

create function coordination.check_items(items jsonb) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  stranger text;
begin
  if jsonb_typeof(items) is distinct from 'array'
    or exists (select from jsonb_array_elements(items) i where jsonb_typeof(i.value) <> 'object')
  then
    perform coordination.refuse('ZH006', 'handoffs must be a JSON array of objects',
      'For example [{"to_agent": "trae", "task_description": "review it"}].');
  end if;
  select k.key into stranger
  from jsonb_array_elements(items) i
  cross join lateral jsonb_object_keys(i.value) as k (key)
  where k.key not in ('to_agent', 'task_description', 'context', 'priority', 'available_at', 'deadline_at',
    'timeout', 'max_attempts', 'idempotency_key', 'parent_id', 'traceparent')
  limit 1;
  if found then
    perform coordination.refuse('ZH006', format('a handoff has no field %s', stranger),
      'The fields are to_agent, task_description, context, priority, available_at, deadline_at, timeout, max_attempts, idempotency_key, parent_id, traceparent.');
  end if;
end $$;
comment on function coordination.check_items is 'Refuse what is no list of handoffs, and fields that do not exist.';

create function coordination.is_token(h public.handoffs, attempt integer, agent_name text, incarnation uuid) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select h.status = 'in_progress'
    and h.attempt = is_token.attempt
    and h.assigned_agent = is_token.agent_name
    and h.held_by is not distinct from is_token.incarnation
$$;
comment on function coordination.is_token is 'Whether this is the token of the attempt that stands: attempt, agent and incarnation.';

create function coordination.lock_handoff(handoff_id uuid) returns public.handoffs
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  h public.handoffs;
begin
  select * into h from public.handoffs x where x.id = lock_handoff.handoff_id for update;
  if not found then
    perform coordination.refuse('ZH004', format('there is no handoff %s', lock_handoff.handoff_id),
      'Check the id: coordinator handoffs list.');
  end if;
  return h;
end $$;
comment on function coordination.lock_handoff is 'Lock a handoff and return it; ZH004 where there is none.';

create function coordination.refuse_token(h public.handoffs, attempt integer, agent_name text, incarnation uuid) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform coordination.check_incarnation(agent_name, incarnation);
  perform coordination.refuse('ZH001',
    format('attempt %s of handoff %s by %s no longer stands: it is %s, attempt %s%s', refuse_token.attempt, h.id, agent_name,
      h.status, h.attempt, coalesce(' by ' || h.assigned_agent, '')),
    'Stop this work; its result would be kept as evidence only.');
end $$;
comment on function coordination.refuse_token is 'Say why a token is stale: ZH002 or ZH003 for the agent, else ZH001.';

create function coordination.was_settled(handoff_id uuid, attempt integer, agent_name text, incarnation uuid, events text[], reasons text[])
returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select exists (
    select
    from public.coordination_events given
    join public.coordination_events settled using (handoff_id, attempt, agent)
    where given.handoff_id = was_settled.handoff_id
      and given.attempt = was_settled.attempt
      and given.agent = was_settled.agent_name
      and given.event = 'handoff.dispatched'
      and (given.detail ->> 'incarnation')::uuid is not distinct from was_settled.incarnation
      and settled.event = any (was_settled.events)
      and (settled.detail ->> 'reason' = any (was_settled.reasons) or was_settled.reasons is null))
$$;
comment on function coordination.was_settled is
  'Whether this very token settled its attempt in one of these ways: then saying it again is a repetition, not stale.';

create function coordination.keep_late_word(h public.handoffs, attempt integer, agent_name text, incarnation uuid, word jsonb) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform coordination.check_size('result', octet_length(word::text));
  insert into public.coordination_events (handoff_id, attempt, event, agent, detail)
  values (h.id, keep_late_word.attempt, 'handoff.settled_late', agent_name,
    word || jsonb_strip_nulls(jsonb_build_object('incarnation', keep_late_word.incarnation, 'root_id', h.root_id)));
  update public.agent_status a
  set status = 'idle'
  where a.agent_name = keep_late_word.agent_name
    and a.incarnation is not distinct from keep_late_word.incarnation
    and a.blocked_reason = 'unresponsive';
  return 'stale';
end $$;
comment on function coordination.keep_late_word is
  'Keep what a stale token brought as an event, and take it as the sign that its body has ended.';

-- Agents ----------------------------------------------------------------------------------------

create function public.register_agent(
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
comment on function public.register_agent is
  'Register an agent, or a new life of it: what another incarnation holds is taken back at once, and its calls are refused from now on. Idempotent for the same incarnation.';

create function public.heartbeat_many(agent_names text[], incarnation uuid default null)
returns table (agent_name text, status text, blocked_reason text, handoff_id uuid, attempt integer, accepted boolean, cancel_requested boolean)
language sql security definer set search_path = pg_catalog, pg_temp as $$
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
comment on function public.heartbeat_many is
  'Heartbeats of agents that share an incarnation, and what each holds now. An agent missing from the answer was replaced or removed.';

create function public.heartbeat(
  agent_name text,
  incarnation uuid default null,
  handoff_id uuid default null,
  attempt integer default null,
  current_task text default null
) returns table (status text, blocked_reason text, held_handoff uuid, held_attempt integer, should_stop boolean)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
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
comment on function public.heartbeat is
  'Say that an agent lives; answers with what it holds now and whether it should stop the given attempt. ZH002 or ZH003 where this life is over.';

create function public.set_agent_status(
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
comment on function public.set_agent_status is
  'An agent''s own word: idle, working or blocked (with a reason). Idle while holding a handoff stays working.';

create function public.leave(agent_name text, incarnation uuid default null) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  agent public.agent_status;
begin
  agent := coordination.lock_agent(leave.agent_name);
  perform coordination.check_incarnation(leave.agent_name, leave.incarnation);
  if agent.current_handoff is not null then
    perform coordination.take_back(array[agent.current_handoff], 'left');
  end if;
  update public.agent_status a
  set status = 'blocked', blocked_reason = 'left'
  where a.agent_name = leave.agent_name;
end $$;
comment on function public.leave is 'Leave: what the agent holds is taken back, and it gets nothing until it registers again.';

create function public.get_agent_status(name text) returns setof public.agent_status
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select a.* from public.agent_status a where a.agent_name = get_agent_status.name
$$;
comment on function public.get_agent_status is 'One agent''s row; no row for an unknown name.';

-- Handoffs --------------------------------------------------------------------------------------

create function public.hand_off_many(from_agent text, handoffs jsonb, incarnation uuid default null)
returns table (handoff_id uuid, repeated boolean, warning text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if incarnation is not null then
    perform coordination.check_incarnation(from_agent, incarnation);
  end if;
  return query select * from coordination.add_handoffs(from_agent, handoffs, null);
end $$;
comment on function public.hand_off_many is
  'Hand off many tasks in one transaction, in the order of the array; the keys are those of hand_off.';

create function public.hand_off(
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
    perform coordination.check_wait(from_agent, to_agent);
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
comment on function public.hand_off is
  'Hand a task to an agent or a role. A known idempotency key returns the first handoff; an unknown address waits, with a warning. will_wait refuses (ZH010) what would wait for ever.';

create function public.accept_handoff(handoff_id uuid, attempt integer, agent_name text, incarnation uuid default null)
returns public.handoffs
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  h public.handoffs := coordination.lock_handoff(handoff_id);
begin
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
comment on function public.accept_handoff is 'Take up an attempt, and return the handoff; accepting again changes nothing. ZH001 where the attempt no longer stands.';

create function public.report_progress(
  handoff_id uuid, attempt integer, agent_name text, incarnation uuid default null,
  note text default null, detail jsonb default '{}'
) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  h public.handoffs;
begin
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
comment on function public.report_progress is 'Record progress as an event; answers whether the work should be cancelled. ZH001 where the attempt no longer stands.';

create function public.complete_handoff(
  handoff_id uuid, attempt integer, agent_name text, incarnation uuid default null,
  result jsonb default null, follow_ups jsonb default '[]'
) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  h public.handoffs := coordination.lock_handoff(handoff_id);
begin
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
comment on function public.complete_handoff is
  'Complete an attempt as succeeded, with follow-ups in the same transaction. Answers applied, repeated (the same token had completed it) or stale (kept as evidence, not applied).';

create function coordination.pause_after(attempt integer) returns interval
language sql volatile set search_path = pg_catalog, pg_temp as $$
  select least(s.retry_delay * (2 ^ least(attempt - 1, 20)), s.max_retry_delay) * (0.5 + random() / 2)
  from public.coordination_settings s
$$;
comment on function coordination.pause_after is 'How long a failed handoff waits: doubling, capped, with jitter down to the half.';

create function public.fail_handoff(
  handoff_id uuid, attempt integer, agent_name text, incarnation uuid default null,
  error text default null, retry boolean default true, retry_in interval default null, result jsonb default null
) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  h public.handoffs := coordination.lock_handoff(handoff_id);
  again timestamptz;
begin
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
comment on function public.fail_handoff is
  'Fail an attempt: back to pending after a pause while attempts are left and retry is true, else completed as failed; cancelled where that was asked. Answers applied, repeated or stale.';

create function public.cancel_handoff(handoff_id uuid, reason text default null) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  h public.handoffs := coordination.lock_handoff(handoff_id);
begin
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
comment on function public.cancel_handoff is
  'Cancel: at once where nobody has taken it up (answers cancelled), else by asking its agent (requested); completed where it had ended.';

create function public.retry_handoff(handoff_id uuid, attempts integer default 3) returns public.handoffs
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  h public.handoffs := coordination.lock_handoff(handoff_id);
begin
  if h.status <> 'completed' then
    perform coordination.refuse('ZH005', format('handoff %s is %s, not completed', h.id, h.status),
      'Only what has ended can be tried again.');
  elsif attempts is null or attempts not between 1 and 1000000 - h.attempt then
    perform coordination.refuse('ZH006', format('attempts is %s', attempts),
      format('Give it 1 to %s attempts.', 1000000 - h.attempt));
  end if;
  update public.handoffs x
  set status = 'pending', retries = x.retries + 1, outcome = null, result = null, deadline_at = null, finished_at = null,
    max_attempts = x.attempt + retry_handoff.attempts, available_at = now(), due = true, assigned_agent = null,
    dispatched_at = null, accepted_at = null, attempt_ends_at = null, end_reason = null,
    cancel_requested = false, cancel_requested_at = null
  where x.id = h.id
  returning * into h;
  return h;
end $$;
comment on function public.retry_handoff is
  'An operator reopens a completed handoff with a new budget of attempts; attempt itself is never lowered.';

create function public.get_handoff(handoff_id uuid) returns setof public.handoffs
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select h.* from public.handoffs h where h.id = get_handoff.handoff_id
$$;
comment on function public.get_handoff is 'One handoff''s row; no row for an unknown id.';

create function public.held_handoff(agent_name text, incarnation uuid default null) returns setof public.handoffs
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select h.*
  from public.agent_status a
  join public.handoffs h on h.id = a.current_handoff
  where a.agent_name = held_handoff.agent_name
    and a.incarnation is not distinct from held_handoff.incarnation
$$;
comment on function public.held_handoff is 'What an agent holds now, if anything.';

create function public.check_wait(agent_name text, to_agent text) returns void
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coordination.check_wait(agent_name, to_agent)
$$;
comment on function public.check_wait is 'Raise ZH010 where the agent, holding a handoff, would wait for ever for this address.';
