-- End every connection of a login to this server; always one row.
select count(*) filter (where pg_terminate_backend(s.pid)) as ended
from pg_stat_activity s
where s.usename = :login::text
