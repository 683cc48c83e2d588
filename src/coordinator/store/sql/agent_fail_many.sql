-- Fail attempts of several agents as agent_fail does, in one transaction. Always one row each: its verdict. One that is
-- refused refuses them all.
with brief as materialized (
  select set_config('lock_timeout', :lock_within::text, true) as within
), said as materialized (
  select i.*
  from brief
  cross join unnest(
    :handoff_id::uuid[], :attempt::integer[], :agent_name::text[], :incarnation::uuid[],
    :error::text[], :retry::boolean[], :retry_in::interval[], :result::text[]
  ) with ordinality as i (handoff_id, attempt, agent_name, incarnation, error, retry, retry_in, result, nth)
  order by i.handoff_id, i.nth
)
select said.nth,
  fail_handoff(
    handoff_id => said.handoff_id,
    attempt => said.attempt,
    agent_name => said.agent_name,
    incarnation => said.incarnation,
    error => said.error,
    retry => said.retry,
    retry_in => said.retry_in,
    result => said.result::jsonb
  ) as verdict
from said
