-- Floor: complete the handoffs $1. Only handoffs is written.
update handoffs h
set status = 'completed',
  outcome = 'succeeded',
  end_reason = 'settled',
  accepted_at = now(),
  finished_at = now()
where h.id = any ($1::uuid[]);
