-- Notify the daemon's own channel, to prove that notifications arrive. One row. Nothing is written that
-- must last, so it waits for no disk and no standby server: a probe is not late because they are.
select
  set_config('synchronous_commit', 'off', true),
  pg_notify('handoffs', :payload::text)
