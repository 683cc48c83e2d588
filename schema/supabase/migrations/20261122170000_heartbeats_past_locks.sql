-- The heartbeat of many agents waits for none of them long: whoever has one agent's row locked would else
-- silence all the others of its process, and their work would be taken back.

-- A lock is mostly a dispatch or a settlement about to commit, and worth a short wait: a busy agent meets
-- one so often that heartbeats left out would add up to silence. The first wait in vain is the last. Others
-- of these agents are locked meanwhile, out of order: the time limit is below the one for deadlocks.
create or replace function public.heartbeat_many(agent_names text[], incarnation uuid default null)
returns table (agent_name text, status text, blocked_reason text, handoff_id uuid, attempt integer, accepted boolean, cancel_requested boolean)
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
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
    from mine
    where a.id = mine.id
    returning a.id
  )
  select array_agg(a.id) into passed_over
  from public.agent_status a
  where a.agent_name = any (heartbeat_many.agent_names)
    and a.incarnation is not distinct from heartbeat_many.incarnation
    and not exists (select from beaten b where b.id = a.id);
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
  left join public.handoffs h on h.id = a.current_handoff
  where a.agent_name = any (heartbeat_many.agent_names)
    and a.incarnation is not distinct from heartbeat_many.incarnation;
end $$;
comment on function public.heartbeat_many is
  'Heartbeats of agents that share an incarnation, and what each holds now; one whose row somebody keeps locked is answered, but not heard. An agent missing from the answer was replaced or removed.';
