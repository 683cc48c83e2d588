-- Tell everybody that the leader looks by itself from now on. One row: the snapshot to read changes from, which is
-- older than the hush, since the statement takes it before it runs. No row once another daemon leads. The row's lock
-- makes sure of that: whoever begins a term waits for it, and lowers the bell after it. Nothing here must last.
select pg_current_snapshot()::text as seen, setval('coordination.bell', 2) as bell
from (
  select set_config('synchronous_commit', 'off', true)
  from coordination.leadership l
  where l.term = :term::bigint
  for share
) leads
