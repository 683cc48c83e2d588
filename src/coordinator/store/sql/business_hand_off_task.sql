-- Hand a task of the business half to an agent or a role that serves its workspace. One row: the handoff, and a warning
-- where nobody answers to the address yet.
select o.handoff_id, o.warning
from public.hand_off_task(
  task_id => :task_id::uuid,
  to_agent => :to_agent::text,
  from_agent => :from_agent::text,
  deadline_at => coalesce(:deadline_at::timestamptz, now() + :deadline_in::interval),
  timeout => :timeout::interval,
  max_attempts => :max_attempts::integer
) o
