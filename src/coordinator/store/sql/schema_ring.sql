-- Notify a channel that nobody else knows, to prove that notifications arrive. One row.
select pg_notify(:channel::text, '')
