-- What a handoff may do, whoever writes it, and what follows from each of its transitions:
-- the event, the agent's status, the notifications. Statement triggers do the telling, so that
-- a thousand rows cost one round; row triggers only complete or refuse.

create function coordination.refuse(code text, message text, hint text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception using errcode = code, message = message, hint = hint;
end $$;
comment on function coordination.refuse is 'Raise a documented refusal: a SQLSTATE of class ZH, what happened, what to do.';

create function public.agent_channel(agent_name text) returns text
language sql immutable strict parallel safe
-- Qualified by hand: with a SET clause it could not be inlined, and it is called for every push.
as $$
  select pg_catalog.concat('to_', pg_catalog.left(
    pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(agent_name, 'UTF8')), 'hex'), 32))
$$;
comment on function public.agent_channel is
  'The channel an agent listens on. A hash, since a name may be longer than a channel can be, or be one of the daemon''s.';

create function coordination.ring(channel text, event text, key text, names text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  payload text := jsonb_build_object('event', event, key, names)::text;
begin
  -- A payload of 8,000 bytes or more makes pg_notify raise. Without names it means: look everywhere.
  perform pg_notify(channel, case
    when octet_length(payload) < 7000 then payload
    else jsonb_build_object('event', event)::text
  end);
end $$;
comment on function coordination.ring is 'Notify a doorbell channel of an event, naming what changed where that fits.';

-- Arrival ---------------------------------------------------------------------------------------

create function coordination.check_size(field text, bytes integer) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  most integer := (select s.max_content_bytes from public.coordination_settings s);
begin
  if bytes > most then
    perform coordination.refuse('ZH006',
      format('%s is %s bytes long; the limit is %s', field, bytes, most),
      'Put large content in a file or a table and hand over its path or key.');
  end if;
end $$;
comment on function coordination.check_size is 'Refuse a text or JSON value above max_content_bytes, naming the field.';

create function coordination.handoff_arrives() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  most_hops integer := (select s.max_hops from public.coordination_settings s);
  parent record;
begin
  if new.status <> 'pending' or new.attempt <> 0 or new.retries <> 0 or new.cancel_requested then
    perform coordination.refuse('ZH005',
      'a handoff is inserted as pending, with attempt 0 and retries 0',
      'Leave status, attempt, retries and cancel_requested out of the insert.');
  end if;
  perform coordination.check_size('task_description', octet_length(new.task_description));
  perform coordination.check_size('context', octet_length(new.context::text));
  new.created_at := now();
  new.available_at := coalesce(new.available_at, now());
  new.due := new.available_at <= now();
  new.parent_id := coalesce(new.parent_id, (
    select a.current_handoff from public.agent_status a where a.agent_name = new.from_agent));
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
  if parent.hop >= most_hops then
    perform coordination.refuse('ZH007',
      format('this handoff would be hop %s; the limit is %s', parent.hop + 1, most_hops),
      'The agents may be handing work round in a circle: look at coordinator handoffs show '
        || parent.root_id || '. Finish the work, or start a new chain by hand.');
  end if;
  new.root_id := parent.root_id;
  new.hop := parent.hop + 1;
  return new;
end $$;
comment on function coordination.handoff_arrives is 'Compute lineage and due, and refuse a handoff that begins in mid-life.';

create trigger handoffs_1_arrive before insert on public.handoffs
  for each row execute function coordination.handoff_arrives();

create function coordination.handoffs_queued() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off as $$
declare
  addresses text[];
begin
  insert into public.coordination_events (handoff_id, attempt, event, agent, detail)
  select n.id, 0, 'handoff.queued', null,
    jsonb_strip_nulls(jsonb_build_object(
      'from_agent', n.from_agent, 'to_agent', n.to_agent, 'parent_id', n.parent_id,
      'root_id', n.root_id, 'hop', n.hop, 'priority', n.priority,
      'available_at', case when not n.due then n.available_at end))
  from new_rows n
  order by n.position;

  select array_agg(distinct n.to_agent) into addresses from new_rows n where n.due;
  if addresses is not null then
    perform coordination.ring('handoffs', 'queued', 'addresses', addresses);
  end if;
  if exists (select from new_rows n where not n.due) then
    perform coordination.ring('handoffs', 'delayed', 'addresses', '{}');
  end if;
  return null;
end $$;
comment on function coordination.handoffs_queued is 'Tell of new handoffs: an event each, one ring for all.';

create trigger handoffs_queued after insert on public.handoffs
  referencing new table as new_rows
  for each statement execute function coordination.handoffs_queued();

-- Change ----------------------------------------------------------------------------------------

create function coordination.handoff_completes() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if new.held_by is not null then
    perform coordination.refuse('ZH001',
      format('handoff %s is held by a registered agent; a plain update cannot show its token', new.id),
      'Call complete_handoff, fail_handoff or cancel_handoff with the handoff''s id (and attempt).');
  end if;
  new.outcome := coalesce(new.outcome, 'succeeded');
  new.end_reason := case new.outcome when 'succeeded' then 'settled' else new.outcome end;
  if new.outcome = 'failed' and old.cancel_requested then
    new.outcome := 'cancelled';
  end if;
  new.finished_at := now();
  if old.status = 'in_progress' then
    new.accepted_at := coalesce(new.accepted_at, now());
  end if;
  return new;
end $$;
comment on function coordination.handoff_completes is
  'Complete what a plain update leaves out: outcome and times. Without the token it ends only what has no incarnation.';

create trigger handoffs_1_complete before update on public.handoffs
  for each row when (old.status <> 'completed' and new.status = 'completed' and new.finished_at is null)
  execute function coordination.handoff_completes();

create function coordination.result_arrives() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform coordination.check_size('result', octet_length(new.result::text));
  perform coordination.check_size('last_error', octet_length(new.last_error));
  perform coordination.check_size('context', octet_length(new.context::text));
  return new;
end $$;
comment on function coordination.result_arrives is 'Refuse a result, an error or a new context above the size limit.';

create trigger handoffs_2_result before update on public.handoffs
  for each row when (
    (new.result is distinct from old.result and new.result is not null)
    or (new.last_error is distinct from old.last_error and new.last_error is not null)
    or new.context is distinct from old.context
  )
  execute function coordination.result_arrives();

create function coordination.refuse_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
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
comment on function coordination.refuse_change is 'Say why a change of a handoff is illegal; runs only to refuse.';

-- The life cycle. Kept in the WHEN clause: a legal change costs no function call.
create trigger handoffs_3_refuse before update on public.handoffs
  for each row when (not (
    -- One by one: a comparison of rows is printed and read back differently, which a restore would show as drift.
    new.id = old.id
    and new.from_agent = old.from_agent
    and new.to_agent = old.to_agent
    and new.position = old.position
    and new.root_id = old.root_id
    and new.hop = old.hop
    and new.parent_id is not distinct from old.parent_id
    and new.idempotency_key is not distinct from old.idempotency_key
    and case
      when old.status = 'completed' and new.status = 'completed' then
        old.* is not distinct from new.*
      when old.status = 'completed' then
        new.status = 'pending' and new.retries = old.retries + 1 and new.attempt = old.attempt
      when old.status = 'pending' and new.status = 'in_progress' then
        new.attempt = old.attempt + 1 and old.due and new.retries = old.retries
      when old.status = 'pending' and new.status = 'completed' then
        new.outcome in ('cancelled', 'failed') and new.attempt = old.attempt and new.retries = old.retries
      when old.status = 'in_progress' and new.status = 'in_progress' then
        new.attempt = old.attempt and new.retries = old.retries
        and new.assigned_agent = old.assigned_agent and new.held_by is not distinct from old.held_by
        and (old.accepted_at is null or new.accepted_at is not null)
      when old.status = 'in_progress' and new.status = 'completed' then
        new.attempt = old.attempt and new.retries = old.retries and new.assigned_agent = old.assigned_agent
      else
        new.attempt = old.attempt and new.retries = old.retries and new.assigned_agent is null
    end
  ))
  execute function coordination.refuse_change();

create function coordination.free_agents(agent_names text[], handoff_ids uuid[], forced boolean[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
set enable_nestloop = off set jit = off as $$
declare
  freed text[];
begin
  -- In the order of their names, as heartbeat_many locks them: a plan might take them as they lie.
  perform from public.agent_status a where a.agent_name = any (agent_names) order by a.agent_name for no key update;
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
comment on function coordination.free_agents is
  'Free the agents whose attempts ended: working becomes idle, or blocked where the end was forced; blocked stays.';

create function coordination.handoffs_changed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
-- A plan cached on quiet days joins the transition tables by nested loop, seventy times slower in a burst.
set enable_nestloop = off set jit = off as $$
declare
  takers text[]; taken uuid[];
  leavers text[]; ended uuid[]; forced boolean[];
  addresses text[]; delayed boolean;
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
  if not found and not exists (select from new_rows n where n.status = 'pending') then
    return null;
  end if;

  select
    array_agg(n.assigned_agent order by n.assigned_agent) filter (where o.status = 'pending' and n.status = 'in_progress'),
    array_agg(n.id order by n.assigned_agent) filter (where o.status = 'pending' and n.status = 'in_progress'),
    array_agg(o.assigned_agent order by o.assigned_agent) filter (where o.status = 'in_progress' and n.status <> 'in_progress'),
    array_agg(o.id order by o.assigned_agent) filter (where o.status = 'in_progress' and n.status <> 'in_progress'),
    array_agg(coalesce(n.end_reason in ('unaccepted', 'timed_out', 'cancel_grace', 'deadline'), false) order by o.assigned_agent)
      filter (where o.status = 'in_progress' and n.status <> 'in_progress'),
    array_agg(distinct n.to_agent) filter (where n.status = 'pending' and n.due and not (o.status = 'pending' and o.due)),
    coalesce(bool_or(n.status = 'pending' and not n.due and not (o.status = 'pending' and o.available_at = n.available_at)), false)
  into takers, taken, leavers, ended, forced, addresses, delayed
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
comment on function coordination.handoffs_changed is
  'What follows from changed handoffs, in the same transaction: events, the agents'' status, rings and pushes.';

create trigger handoffs_changed after update on public.handoffs
  referencing old table as old_rows new table as new_rows
  for each statement execute function coordination.handoffs_changed();

-- Removal ---------------------------------------------------------------------------------------

create function coordination.handoffs_deleted() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off as $$
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
comment on function coordination.handoffs_deleted is 'Deleting a held handoff frees its agent; deleting any leaves an event.';

create trigger handoffs_deleted after delete on public.handoffs
  referencing old table as old_rows
  for each statement execute function coordination.handoffs_deleted();

create function coordination.handoffs_truncated() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update public.agent_status a
  set current_handoff = null,
    status = case when a.status = 'working' then 'idle' else a.status end,
    status_since = now()
  where a.current_handoff is not null;
  insert into public.coordination_events (event, detail)
  values ('handoff.deleted', jsonb_build_object('reason', 'truncate'));
  return null;
end $$;
comment on function coordination.handoffs_truncated is 'Truncating the queue frees every agent.';

create trigger handoffs_truncated after truncate on public.handoffs
  for each statement execute function coordination.handoffs_truncated();
