-- A hand-off that repeats a known key must be as safe as the first one. A commit that was cancelled while it waited
-- for a synchronous standby is visible, but not replicated: whoever only reads it commits at once, and acknowledges
-- what a failover may lose. A row lock is written ahead, so that this commit waits for the standby too.

create or replace function coordination.add_handoffs(from_agent text, handoffs jsonb, default_parent uuid)
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
