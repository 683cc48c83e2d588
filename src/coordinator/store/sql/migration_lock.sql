-- Try to be the only one who migrates this database, until the connection ends. One row. Never waits: a waiting
-- statement would hold a snapshot and stop vacuum.
select pg_try_advisory_lock(:key::bigint) as got
