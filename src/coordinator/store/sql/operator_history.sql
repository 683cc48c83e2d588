-- Which history the server writes: its cluster, and the timeline, which every promotion of a standby changes. One row.
select c.system_identifier || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) as history
from pg_control_system() c
