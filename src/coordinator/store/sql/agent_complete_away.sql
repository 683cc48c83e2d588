-- Complete an attempt as agent_complete does, and take no work until idle is said again; in one transaction.
-- Always one row: the verdict.
with said as materialized (
  select complete_handoff(
    handoff_id => :handoff_id::uuid,
    attempt => :attempt::integer,
    agent_name => :agent_name::text,
    incarnation => :incarnation::uuid,
    result => :result::jsonb,
    follow_ups => (
      select coalesce(jsonb_agg(
        i.item - 'delay' - 'deadline_in'
          || jsonb_strip_nulls(jsonb_build_object(
            'available_at', coalesce(i.item ->> 'available_at', (now() + (i.item ->> 'delay')::interval)::text),
            'deadline_at', coalesce(i.item ->> 'deadline_at', (now() + (i.item ->> 'deadline_in')::interval)::text)))
        order by i.nth), '[]')
      from jsonb_array_elements(:follow_ups::jsonb) with ordinality as i (item, nth)
    )
  ) as verdict
)
select said.verdict,
  -- A case, since it calls nothing where the word did not count: evidence is kept, whatever the agent's life.
  case when said.verdict = 'applied' then
    (set_agent_status(agent_name => :agent_name::text, status => 'working', incarnation => :incarnation::uuid)).status
  end as status
from said
