-- What an agent's row may do. Most updates are heartbeats: they touch last_seen alone and call nothing.

create function coordination.agent_arrives() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if new.current_handoff is not null then
    perform coordination.refuse('ZH012', 'current_handoff is kept by the coordinator', 'Leave current_handoff out.');
  end if;
  new.last_seen := least(new.last_seen, now());
  new.registered_at := now();
  new.status_since := now();
  new.blocked_reason := case when new.status = 'blocked' then coalesce(new.blocked_reason, 'said') end;
  return new;
end $$;
comment on function coordination.agent_arrives is 'Complete a new agent''s row; the clock is the database''s.';

create trigger agent_status_1_arrive before insert on public.agent_status
  for each row execute function coordination.agent_arrives();

create function coordination.refuse_agent_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform coordination.refuse('ZH012',
    format('agent %s: id, agent_name and current_handoff do not change by hand', old.agent_name),
    'Register another name; current_handoff follows the handoffs by itself.');
  return null;
end $$;
comment on function coordination.refuse_agent_change is 'Say why a change of an agent is illegal; runs only to refuse.';

-- current_handoff is written by the triggers on handoffs, which run one level down.
create trigger agent_status_1_refuse before update on public.agent_status
  for each row when (
    new.id <> old.id
    or new.agent_name <> old.agent_name
    or (new.current_handoff is distinct from old.current_handoff and pg_trigger_depth() = 0)
  )
  execute function coordination.refuse_agent_change();

create function coordination.agent_speaks() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  new.last_seen := least(new.last_seen, now());
  if old.blocked_reason = 'left' and new.registered_at = old.registered_at
    and (new.status <> 'blocked' or new.blocked_reason is distinct from 'left')
  then
    perform coordination.refuse('ZH011',
      format('agent %s has left', old.agent_name),
      'Call register_agent to come back.');
  end if;
  if new.status = 'blocked' and old.blocked_reason = 'stale' and new.blocked_reason = 'stale' and new.last_seen > old.last_seen then
    new.status := case when new.current_handoff is null then 'idle' else 'working' end;
  elsif new.status = 'idle' and new.current_handoff is not null then
    new.status := 'working';
  end if;
  new.blocked_reason := case when new.status = 'blocked' then coalesce(new.blocked_reason, 'said') end;
  new.status_since := case when new.status <> old.status then now() else old.status_since end;
  return new;
end $$;
comment on function coordination.agent_speaks is
  'An agent''s own word: clamp its clock, lift stale on a heartbeat, keep working what still holds a handoff.';

create trigger agent_status_2_speak before update on public.agent_status
  for each row when (
    new.current_handoff is not distinct from old.current_handoff
    and (
      new.status <> old.status
      or new.blocked_reason is distinct from old.blocked_reason
      or new.last_seen > now()
      or (old.blocked_reason = 'stale' and new.last_seen > old.last_seen)
    )
  )
  execute function coordination.agent_speaks();

create function coordination.agent_changed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  happened text := case
    when tg_op = 'INSERT' then 'registered'
    when new.registered_at <> old.registered_at and new.incarnation is distinct from old.incarnation then 'replaced'
    when new.registered_at <> old.registered_at then 'registered'
    when new.blocked_reason = 'left' then 'left'
    when new.status = 'blocked' then 'blocked'
    when old.blocked_reason = 'stale' and new.last_seen > old.last_seen then 'recovered'
    when new.status = old.status then 'changed'
    when new.status = 'idle' then 'freed'
    else 'occupied'
  end;
begin
  insert into public.coordination_events (handoff_id, event, agent, detail)
  values (null, 'agent.' || happened, new.agent_name, jsonb_strip_nulls(jsonb_build_object(
    'status', new.status, 'reason', new.blocked_reason, 'incarnation', new.incarnation,
    'roles', case when new.roles <> '{}' then new.roles end)));
  if new.status = 'idle' then
    perform coordination.ring('agent_status', 'idle', 'agents', array[new.agent_name]);
  else
    perform coordination.ring('agent_status', happened, 'agents', array[new.agent_name]);
  end if;
  return null;
end $$;
comment on function coordination.agent_changed is 'Tell of an agent''s own transition: an event and a ring.';

create trigger agent_status_arrived after insert on public.agent_status
  for each row execute function coordination.agent_changed();

-- Dispatch and settlement imply working and idle: those change current_handoff and leave no second event.
create trigger agent_status_changed after update on public.agent_status
  for each row when (
    (
      (new.status <> old.status or new.blocked_reason is distinct from old.blocked_reason)
      and (new.current_handoff is not distinct from old.current_handoff or new.status = 'blocked')
    )
    or new.roles <> old.roles
    or new.registered_at <> old.registered_at
  )
  execute function coordination.agent_changed();

create function coordination.agent_removed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if old.current_handoff is not null then
    perform coordination.refuse('ZH005',
      format('agent %s holds handoff %s', old.agent_name, old.current_handoff),
      'Call leave for it first; its work is taken back then.');
  end if;
  insert into public.coordination_events (event, agent) values ('agent.deleted', old.agent_name);
  return old;
end $$;
comment on function coordination.agent_removed is 'An agent that holds work cannot be deleted; deleting another leaves an event.';

create trigger agent_status_removed before delete on public.agent_status
  for each row execute function coordination.agent_removed();

create function coordination.agents_truncated() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from public.handoffs h where h.status = 'in_progress') then
    perform coordination.refuse('ZH005',
      'some agents hold handoffs', 'Let them leave first, or truncate handoffs before agent_status.');
  end if;
  return null;
end $$;
comment on function coordination.agents_truncated is 'Agents that hold work cannot be truncated away.';

create trigger agent_status_truncated before truncate on public.agent_status
  for each statement execute function coordination.agents_truncated();

create function coordination.refuse_event_change() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform coordination.refuse('ZH012',
    'coordination_events is append only', 'Insert a correcting handoff; do not rewrite the record.');
  return null;
end $$;
comment on function coordination.refuse_event_change is 'The audit trail is not rewritten.';

create trigger coordination_events_append_only before update on public.coordination_events
  for each statement execute function coordination.refuse_event_change();
