-- Hold a lock for as long as this session lives, so that the end of the process is seen at once. Always one row:
-- whether it does; a stranger could keep it. Shared, since after a reconnect the old session may linger. The
-- daemon's `tethers` finds it in pg_locks.
select pg_try_advisory_lock_shared(x'686f6c64'::integer, ('x' || left(:incarnation::uuid::text, 8))::bit(32)::integer)
