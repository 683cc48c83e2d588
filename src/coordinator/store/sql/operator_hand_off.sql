-- Hand a task over for somebody who has no program of his own. One row: the id, whether an earlier handoff has the
-- same idempotency key, a warning where nobody answers to the address, and the sender's channel.
select o.handoff_id, o.repeated, o.warning, public.agent_channel(:from_agent::text) as channel
from public.hand_off(
  from_agent => :from_agent::text,
  to_agent => :to_agent::text,
  task_description => :task_description::text,
  context => :context::jsonb,
  priority => :priority::integer,
  available_at => now() + :delay::interval,
  deadline_at => coalesce(:deadline_at::timestamptz, now() + :deadline_in::interval),
  timeout => :timeout::interval,
  max_attempts => :max_attempts::integer,
  idempotency_key => :idempotency_key::text,
  parent_id => :parent_id::uuid,
  will_wait => :will_wait::boolean
) o
