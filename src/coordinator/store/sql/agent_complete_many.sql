-- Complete attempts of several agents as agent_complete does, in one transaction. Always one row each: its verdict.
-- One that is refused refuses them all.
with brief as materialized (
  select set_config('lock_timeout', :lock_within::text, true) as within
), said as materialized (
  select i.*
  from brief
  cross join unnest(
    :handoff_id::uuid[], :attempt::integer[], :agent_name::text[], :incarnation::uuid[], :result::text[], :follow_ups::text[]
  ) with ordinality as i (handoff_id, attempt, agent_name, incarnation, result, follow_ups, nth)
  order by i.handoff_id, i.nth
)
select said.nth,
  complete_handoff(
    handoff_id => said.handoff_id,
    attempt => said.attempt,
    agent_name => said.agent_name,
    incarnation => said.incarnation,
    result => said.result::jsonb,
    follow_ups => case when said.follow_ups = '[]' then '[]' else (
      select coalesce(jsonb_agg(
        i.item - 'delay' - 'deadline_in'
          || jsonb_strip_nulls(jsonb_build_object(
            'available_at', coalesce(i.item ->> 'available_at', (now() + (i.item ->> 'delay')::interval)::text),
            'deadline_at', coalesce(i.item ->> 'deadline_at', (now() + (i.item ->> 'deadline_in')::interval)::text)))
        order by i.nth), '[]')
      from jsonb_array_elements(said.follow_ups::jsonb) with ordinality as i (item, nth)
    ) end
  ) as verdict
from said
