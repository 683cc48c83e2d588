-- Complete an attempt as succeeded, with follow-ups in the same transaction. Always one row: the verdict.
-- Delays and deadlines counted from now become moments here, since the database's clock is the only clock.
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
