-- Hand off tasks in one transaction: a row each, in their order, with the handoff's id and whether its key was known.
-- Delays and deadlines counted from now become moments here, since the database's clock is the only clock.
select r.handoff_id, r.repeated, r.warning
from hand_off_many(
  from_agent => :from_agent::text,
  handoffs => (
    select jsonb_agg(
      i.item - 'delay' - 'deadline_in'
        || jsonb_strip_nulls(jsonb_build_object(
          'available_at', coalesce(i.item ->> 'available_at', (now() + (i.item ->> 'delay')::interval)::text),
          'deadline_at', coalesce(i.item ->> 'deadline_at', (now() + (i.item ->> 'deadline_in')::interval)::text)))
      order by i.nth)
    from jsonb_array_elements(:items::jsonb) with ordinality as i (item, nth)
  ),
  incarnation => :incarnation::uuid
) r
