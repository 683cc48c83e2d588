-- Give due handoffs to idle, fresh agents, each agent its next one. One row: how many were dispatched,
-- and whether an idle agent was left beside due work (locked by its heartbeat, or wanted by two addresses).
-- Ranks agents (longest idle first) and handoffs per address and joins on the rank, so that two agents of
-- one role never meet at one handoff; skips what is locked, so that it never waits. Gives nothing once another
-- daemon leads: one that stood still for long has not heard of that yet.
with addresses (address) as materialized (
  select unnest(:addresses::text[])
  union
  select unnest(array[a.agent_name] || a.roles)
  from public.agent_status a
  where a.agent_name = any (:agents::text[])
), staffed as materialized (
  -- Before the work is counted: in a burst most addresses that it arrives at have nobody idle.
  select s.address
  from addresses s
  cross join lateral (
    select
    from public.agent_status a
    where (a.agent_name = s.address or (a.roles <> '{}' and a.roles @> array[s.address]))
      and a.status = 'idle'
      and a.current_handoff is null
    limit 1
  ) somebody
), wanted as materialized (
  select s.address, d.due
  from staffed s
  cross join lateral (
    select count(*) as due
    from (
      select
      from public.handoffs h
      where h.to_agent = s.address
        and h.status = 'pending'
        and h.due
        and (h.deadline_at is null or h.deadline_at > now())
      limit :batch::bigint
    ) waiting
  ) d
  where d.due > 0
    and exists (
      select
      from coordination.leadership l
      where l.term = :term::bigint
    )
), able as materialized (
  select w.address, a.agent_name, a.incarnation,
    row_number() over (partition by w.address order by a.status_since, a.agent_name) as rank
  from wanted w
  cross join lateral (
    select a.agent_name, a.incarnation, a.status_since
    from public.agent_status a
    where (a.agent_name = w.address or (a.roles <> '{}' and a.roles @> array[w.address]))
      and a.status = 'idle'
      and a.current_handoff is null
      and a.last_seen > now() - :stale_after::interval
    order by a.status_since, a.agent_name
    limit w.due
    for no key update skip locked
  ) a
), offered as materialized (
  select w.address, h.id, h.priority, h.position,
    row_number() over (partition by w.address order by h.priority desc, h.position) as rank
  from (select a.address, count(*) as agents from able a group by a.address) w
  cross join lateral (
    select h.id, h.priority, h.position
    from public.handoffs h
    where h.to_agent = w.address
      and h.status = 'pending'
      and h.due
      and (h.deadline_at is null or h.deadline_at > now())
    order by h.priority desc, h.position
    limit w.agents
    for no key update skip locked
  ) h
), chosen as (
  -- An agent wanted at several addresses takes the most urgent.
  select distinct on (a.agent_name) a.agent_name, a.incarnation, a.address, a.rank
  from able a
  join offered o on o.address = a.address and o.rank = a.rank
  order by a.agent_name, o.priority desc, o.position
), closed_up as (
  -- Close the gaps that this leaves at the other addresses, or work would be overtaken there.
  select c.agent_name, c.incarnation, c.address,
    row_number() over (partition by c.address order by c.rank) as rank
  from chosen c
), pairs as materialized (
  select c.agent_name, c.incarnation, o.id
  from closed_up c
  join offered o on o.address = c.address and o.rank = c.rank
), dispatched as (
  update public.handoffs h
  set status = 'in_progress',
    attempt = h.attempt + 1,
    assigned_agent = p.agent_name,
    held_by = p.incarnation,
    dispatched_at = now(),
    attempt_ends_at = case when p.incarnation is null then now() + h.timeout end,
    end_reason = null
  from pairs p
  where h.id = p.id
  returning h.to_agent, h.status
), served as (
  -- A trigger of somebody else's may have put one off.
  select d.to_agent, count(*) as given
  from dispatched d
  where d.status = 'in_progress'
  group by d.to_agent
)
select
  coalesce((select sum(s.given) from served s), 0)::integer as dispatched,
  exists (
    select
    from wanted w
    left join served s on s.to_agent = w.address
    where w.due > coalesce(s.given, 0)
      and exists (
        select
        from public.agent_status a
        where (a.agent_name = w.address or (a.roles <> '{}' and a.roles @> array[w.address]))
          and a.status = 'idle'
          and a.current_handoff is null
          and a.last_seen > now() - :stale_after::interval
          and not exists (select from pairs p where p.agent_name = a.agent_name)
      )
  ) as left_over
