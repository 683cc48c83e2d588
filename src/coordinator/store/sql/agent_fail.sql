-- Fail an attempt: tried again while attempts are left and :retry is true. Always one row: the verdict.
select fail_handoff(
  handoff_id => :handoff_id::uuid,
  attempt => :attempt::integer,
  agent_name => :agent_name::text,
  incarnation => :incarnation::uuid,
  error => :error::text,
  retry => :retry::boolean,
  retry_in => :retry_in::interval,
  result => :result::jsonb
) as verdict
