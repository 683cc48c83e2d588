-- Notify the daemon's own channel, to prove that notifications arrive.
select pg_notify('handoffs', :payload::text)
