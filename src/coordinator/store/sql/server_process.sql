-- Name the server process that answers. One row.
select pg_backend_pid() as pid
