-- What kind of server this is. Always one row.
select
  pg_is_in_recovery() as standby,
  current_setting('server_version_num')::integer as version,
  current_setting('server_version') as version_text
