-- Let others migrate. One row.
select pg_advisory_unlock(:key::bigint)
