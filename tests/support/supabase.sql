-- A plain database dressed as a Supabase project, for tests: roles, the auth schema, the realtime publication.
-- Run as a superuser, before the migrations. Roles belong to the server, so they may be there already.

do $$
declare
  wanted text;
begin
  foreach wanted in array array['anon nologin', 'authenticated nologin', 'service_role nologin bypassrls',
    'authenticator login noinherit', 'supabase_auth_admin login', 'supabase_owner login createrole'] loop
    begin
      execute 'create role ' || wanted;
    exception when duplicate_object or unique_violation then
      null;
    end;
  end loop;
end $$;
grant anon, authenticated, service_role to authenticator;

create schema auth authorization supabase_auth_admin;
create schema extensions;
grant usage on schema auth, public to anon, authenticated, service_role, supabase_owner;

create table auth.users (
  id uuid primary key,
  email text,
  raw_user_meta_data jsonb,
  created_at timestamptz default now()
);
alter table auth.users owner to supabase_auth_admin;

create function auth.jwt() returns jsonb language sql stable as $$
  select coalesce(nullif(current_setting('request.jwt.claims', true), ''), '{}')::jsonb
$$;
create function auth.uid() returns uuid language sql stable as $$
  select nullif(auth.jwt() ->> 'sub', '')::uuid
$$;
create function auth.role() returns text language sql stable as $$
  select auth.jwt() ->> 'role'
$$;
create function auth.email() returns text language sql stable as $$
  select auth.jwt() ->> 'email'
$$;

-- What the migrating role of a project may do: it is no superuser, and owns schema public but not auth.
grant select, references, trigger on auth.users to supabase_owner;
do $$
begin
  execute format('alter database %I owner to supabase_owner', current_database());
end $$;
alter schema public owner to supabase_owner;

create publication supabase_realtime;
alter publication supabase_realtime owner to supabase_owner;
