-- What the business half needs of Supabase and this database lacks. One row.
select array(
  select p.name
  from (values
    ('table auth.users', to_regclass('auth.users') is not null),
    ('function auth.uid()', to_regprocedure('auth.uid()') is not null),
    ('role anon', to_regrole('anon') is not null),
    ('role authenticated', to_regrole('authenticated') is not null),
    ('role service_role', to_regrole('service_role') is not null),
    ('encoding UTF8', current_setting('server_encoding') = 'UTF8')
  ) p (name, present)
  where not p.present
) as missing
