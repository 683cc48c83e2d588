-- What holds by itself in the business half: a row for each sign-up, a slug for each workspace, its owner as a member.

create function agency.ensure_user(id uuid, full_name text default null, avatar_url text default null) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into public.users (id, full_name, avatar_url)
  select u.id, left(ensure_user.full_name, 200), left(ensure_user.avatar_url, 2000)
  from auth.users u
  where u.id = ensure_user.id
  on conflict do nothing;
end $$;
comment on function agency.ensure_user is 'Make the row of somebody who signed up, unless it is there.';

create function agency.user_signs_up() returns trigger
-- A lock on public.users must not hold up a sign-up either.
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
declare
  told jsonb := new.raw_user_meta_data;
begin
  perform agency.ensure_user(new.id,
    coalesce(told ->> 'full_name', told ->> 'name'), coalesce(told ->> 'avatar_url', told ->> 'picture'));
  return null;
exception when others then
  -- Whatever it is, the sign-up counts more: the row is made up for when the user first gets a workspace.
  raise warning 'user % signed up without a row in public.users: %', new.id, sqlerrm;
  return null;
end $$;
comment on function agency.user_signs_up is 'Give a new user a row in public.users; never fail the sign-up.';

create trigger agency_user_signs_up after insert on auth.users
  for each row execute function agency.user_signs_up();

-- Whoever signed up before.
insert into public.users (id, full_name, avatar_url, created_at)
select u.id,
  left(coalesce(u.raw_user_meta_data ->> 'full_name', u.raw_user_meta_data ->> 'name'), 200),
  left(coalesce(u.raw_user_meta_data ->> 'avatar_url', u.raw_user_meta_data ->> 'picture'), 2000),
  coalesce(u.created_at, now())
from auth.users u
on conflict do nothing;

create function agency.slug_of(name text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  -- Accents fall off once letters and marks are taken apart. After that no locale is needed to make letters small.
  plain text := regexp_replace(normalize(name, nfkd), '[\u0300-\u036f]', '', 'g');
begin
  plain := translate(plain, 'ABCDEFGHIJKLMNOPQRSTUVWXYZøØłŁđĐıħĦ', 'abcdefghijklmnopqrstuvwxyzoollddihh');
  plain := regexp_replace(regexp_replace(regexp_replace(plain, '[ßẞ]', 'ss', 'g'), '[æÆ]', 'ae', 'g'), '[œŒ]', 'oe', 'g');
  plain := btrim(left(btrim(regexp_replace(plain, '[^a-z0-9]+', '-', 'g'), '-'), 50), '-');
  return coalesce(nullif(plain, ''), 'workspace');
end $$;
comment on function agency.slug_of is 'A name as it may stand in a URL: small Latin letters, digits, single hyphens, at most 50.';

create function agency.free_slug(wanted text) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  candidate text := wanted;
begin
  for nth in 2..20 loop
    if not exists (select from public.workspaces w where w.slug = candidate) then
      return candidate;
    end if;
    candidate := wanted || '-' || nth;
  end loop;
  -- So many of one name: no more counting.
  return wanted || '-' || left(replace(gen_random_uuid()::text, '-', ''), 10);
end $$;
comment on function agency.free_slug is 'The slug itself if nobody has it, or else with the next number.';

create function agency.workspace_begins() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  wanted text := coalesce(new.slug, agency.slug_of(new.name));
begin
  -- One at a time for slugs that differ only in their numbers.
  perform pg_advisory_xact_lock(hashtextextended('agency.slug ' || regexp_replace(wanted, '(-[0-9]+)+$', ''), 0));
  new.slug := coalesce(new.slug, agency.free_slug(wanted));
  return new;
end $$;
comment on function agency.workspace_begins is 'Derive the slug where none is given.';

create trigger agency_1_workspace_begins before insert on public.workspaces
  for each row execute function agency.workspace_begins();

create function agency.owner_arrives() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform agency.ensure_user(new.owner_id);
  return new;
end $$;
comment on function agency.owner_arrives is 'Make sure that the owner has a row.';

create trigger agency_2_owner_arrives before insert or update of owner_id on public.workspaces
  for each row execute function agency.owner_arrives();

create function agency.owner_joins() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into public.workspace_members (workspace_id, user_id, role)
  values (new.id, new.owner_id, 'owner')
  on conflict (workspace_id, user_id) do update set role = 'owner';
  update public.workspace_members m
  set role = 'member'
  where m.workspace_id = new.id
    and m.user_id <> new.owner_id
    and m.role = 'owner';
  return null;
end $$;
comment on function agency.owner_joins is 'The owner becomes a member, and the only one with the role owner.';

create trigger agency_owner_joins after insert or update of owner_id on public.workspaces
  for each row execute function agency.owner_joins();

create function agency.member_joins() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from public.workspaces w where w.id = new.workspace_id and w.owner_id = new.user_id) then
    new.role := 'owner';
  elsif new.role = 'owner' then
    raise exception using
      errcode = 'check_violation',
      message = format('user %s does not own workspace %s', new.user_id, new.workspace_id),
      hint = 'Leave the role out; the owner has it by owning the workspace.';
  end if;
  perform agency.ensure_user(new.user_id);
  return new;
end $$;
comment on function agency.member_joins is 'The role owner goes with owning the workspace; and the member gets a row, if it has none.';

create trigger agency_1_member_joins before insert or update on public.workspace_members
  for each row execute function agency.member_joins();
