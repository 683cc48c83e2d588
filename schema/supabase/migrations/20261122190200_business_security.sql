-- Who sees and writes what in the business half. Everything is closed first, whatever the default privileges of the
-- project are, and then opened by name. One policy for each command.

do $$
declare
  stranger text;
begin
  foreach stranger in array array['public', 'anon', 'authenticated', 'service_role'] loop
    execute format('revoke all on public.users, public.workspaces, public.workspace_members, public.workspace_agents,
      public.clients, public.tasks from %s', stranger);
    execute format('revoke all on schema agency from %s', stranger);
    execute format('revoke execute on all functions in schema agency from %s', stranger);
  end loop;
end $$;

alter table public.users enable row level security;
alter table public.workspaces enable row level security;
alter table public.workspace_members enable row level security;
alter table public.workspace_agents enable row level security;
alter table public.clients enable row level security;
alter table public.tasks enable row level security;

grant usage on schema public to authenticated, service_role;
grant select, insert, update, delete on public.users, public.workspaces, public.workspace_members,
  public.workspace_agents, public.clients, public.tasks to service_role;

-- A policy on workspace_members that reads workspace_members would call itself for ever; a function of the owner's ends it.
create function agency.my_workspaces() returns setof uuid
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select m.workspace_id from public.workspace_members m where m.user_id = auth.uid()
$$;
comment on function agency.my_workspaces is 'The workspaces that the caller is a member of; none for anon.';
revoke execute on function agency.my_workspaces from public;
-- The policies alone call it: nobody who may not use the schema can name it.
grant execute on function agency.my_workspaces to authenticated;

grant select on public.users to authenticated;
grant update (full_name, avatar_url) on public.users to authenticated;
create policy users_read_themselves on public.users for select to authenticated
  using (id = (select auth.uid()));
create policy users_change_themselves on public.users for update to authenticated
  using (id = (select auth.uid()))
  with check (id = (select auth.uid()));

grant select, insert (name, slug, owner_id), update (name, slug), delete on public.workspaces to authenticated;
-- The owner by name as well: an insert returns the row before its owner has become a member.
create policy members_read_workspaces on public.workspaces for select to authenticated
  using (id = any (array(select agency.my_workspaces())) or owner_id = (select auth.uid()));
create policy owners_begin_workspaces on public.workspaces for insert to authenticated
  with check (owner_id = (select auth.uid()));
create policy owners_change_workspaces on public.workspaces for update to authenticated
  using (owner_id = (select auth.uid()))
  with check (owner_id = (select auth.uid()));
create policy owners_end_workspaces on public.workspaces for delete to authenticated
  using (owner_id = (select auth.uid()));

-- Without role: the trigger knows it, and speaks before the policy does.
grant select, insert (workspace_id, user_id), delete on public.workspace_members to authenticated;
create policy members_read_members on public.workspace_members for select to authenticated
  using (workspace_id = any (array(select agency.my_workspaces())));
create policy owners_add_members on public.workspace_members for insert to authenticated
  with check (workspace_id in (select w.id from public.workspaces w where w.owner_id = (select auth.uid())));
create policy owners_remove_members on public.workspace_members for delete to authenticated
  using (workspace_id in (select w.id from public.workspaces w where w.owner_id = (select auth.uid())));

grant select on public.workspace_agents to authenticated;
create policy members_read_agents on public.workspace_agents for select to authenticated
  using (workspace_id = any (array(select agency.my_workspaces())));

grant select, insert (id, workspace_id, name, contact_email, status), update (name, contact_email, status), delete
  on public.clients to authenticated;
create policy members_read_clients on public.clients for select to authenticated
  using (workspace_id = any (array(select agency.my_workspaces())));
create policy members_add_clients on public.clients for insert to authenticated
  with check (workspace_id = any (array(select agency.my_workspaces())));
create policy members_change_clients on public.clients for update to authenticated
  using (workspace_id = any (array(select agency.my_workspaces())))
  with check (workspace_id = any (array(select agency.my_workspaces())));
create policy members_remove_clients on public.clients for delete to authenticated
  using (workspace_id = any (array(select agency.my_workspaces())));

grant select,
  insert (id, workspace_id, client_id, title, description, status, assignee_id, priority, due_date),
  update (client_id, title, description, status, assignee_id, priority, due_date),
  delete
  on public.tasks to authenticated;
create policy members_read_tasks on public.tasks for select to authenticated
  using (workspace_id = any (array(select agency.my_workspaces())));
create policy members_add_tasks on public.tasks for insert to authenticated
  with check (workspace_id = any (array(select agency.my_workspaces())));
create policy members_change_tasks on public.tasks for update to authenticated
  using (workspace_id = any (array(select agency.my_workspaces())))
  with check (workspace_id = any (array(select agency.my_workspaces())));
create policy members_remove_tasks on public.tasks for delete to authenticated
  using (workspace_id = any (array(select agency.my_workspaces())));

-- Browsers hear of changes to what they may read. A publication for all tables has them already. Members are left out:
-- Realtime sends the key of a deleted row to every subscriber, whatever the policies, and theirs says who left which
-- workspace.
do $$
begin
  if exists (select from pg_publication p where p.pubname = 'supabase_realtime' and not p.puballtables) then
    alter publication supabase_realtime
      add table public.workspaces, public.clients, public.tasks;
  end if;
end $$;
