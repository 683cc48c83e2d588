-- Reopen a completed handoff with a new budget of :attempts. One row: the attempt that is its last one now.
select r.max_attempts
from public.retry_handoff(:handoff_id::uuid, :attempts::integer) r
