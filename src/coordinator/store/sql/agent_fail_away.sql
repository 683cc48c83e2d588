-- Fail an attempt as agent_fail does, and take no work until idle is said again; in one transaction.
-- Always one row: the verdict.
with said as materialized (
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
)
select said.verdict,
  -- A case, since it calls nothing where the word did not count: evidence is kept, whatever the agent's life.
  case when said.verdict = 'applied' then
    (set_agent_status(agent_name => :agent_name::text, status => 'working', incarnation => :incarnation::uuid)).status
  end as status
from said
