-- End the session of a leader that makes no progress; its lock and its listening go with it. False: it had gone already.
select pg_terminate_backend(:pid::integer) as ended
