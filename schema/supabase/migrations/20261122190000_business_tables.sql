-- The business half: people, workspaces, clients, tasks, for Supabase. It needs the coordination half and Supabase's
-- auth schema and roles. Where these are not: leave out the files whose names begin with business_.

do $$
begin
  if to_regclass('auth.users') is null or to_regprocedure('auth.uid()') is null
    or to_regrole('anon') is null or to_regrole('authenticated') is null or to_regrole('service_role') is null
  then
    raise exception using
      errcode = 'feature_not_supported',
      message = 'the business half needs Supabase: auth.users, auth.uid(), and the roles anon, authenticated, service_role',
      hint = 'Leave it out: coordinator migrate does, without --business; with psql or the Supabase CLI leave out the files *_business_*.sql.';
  end if;
end $$;

do $$
begin
  if current_setting('server_encoding') <> 'UTF8' then
    raise exception using
      errcode = 'feature_not_supported',
      message = format('the business half needs a database in UTF8, and this one is in %s', current_setting('server_encoding')),
      hint = 'Make a database with encoding UTF8; every Supabase project is one.';
  end if;
end $$;

create schema agency;
comment on schema agency is 'Private part of the business half: functions behind policies and triggers. Not exposed to the API.';

create table public.users (
  id uuid constraint users_pkey primary key
    constraint users_id_fkey references auth.users (id) on delete cascade,
  full_name text
    constraint full_name_must_be_at_most_200_characters check (char_length(full_name) <= 200),
  avatar_url text
    constraint avatar_url_must_be_at_most_2000_characters check (char_length(avatar_url) <= 2000),
  role text not null default 'member'
    constraint user_role_must_be_admin_manager_or_member check (role in ('admin', 'manager', 'member')),
  created_at timestamptz not null default now()
);
comment on table public.users is 'A person who signed up: one row beside each row of auth.users.';
comment on column public.users.role is
  'The person''s standing in the agency, for the agency''s own use; by itself it opens no workspace. Only the service role sets it.';

create table public.workspaces (
  id uuid constraint workspaces_pkey primary key default gen_random_uuid(),
  name text not null
    constraint workspace_name_must_be_1_to_200_characters check (char_length(btrim(name)) >= 1 and char_length(name) <= 200),
  slug text not null constraint workspaces_slug_key unique
    constraint slug_must_be_1_to_63_small_letters_digits_and_single_hyphens
      check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and char_length(slug) <= 63),
  owner_id uuid not null constraint workspaces_owner_id_fkey references public.users (id),
  created_at timestamptz not null default now()
);
comment on table public.workspaces is 'What people share: members, clients and tasks belong to one workspace each.';
comment on column public.workspaces.slug is
  'Its name in URLs; derived from the name where it is not given. It stays when the name changes.';

create table public.workspace_members (
  workspace_id uuid not null
    constraint workspace_members_workspace_id_fkey references public.workspaces (id) on delete cascade,
  user_id uuid not null
    constraint workspace_members_user_id_fkey references public.users (id) on delete cascade,
  role text not null default 'member'
    constraint member_role_must_be_owner_or_member check (role in ('owner', 'member')),
  created_at timestamptz not null default now(),
  constraint workspace_members_pkey primary key (workspace_id, user_id)
);
create index workspace_members_by_user on public.workspace_members (user_id);
comment on table public.workspace_members is 'Who sees a workspace and works in it.';
comment on column public.workspace_members.role is
  'owner for the owner of the workspace, member for all others; a trigger keeps it so.';

-- Checked at the end of the transaction, since each needs the other.
alter table public.workspaces
  add constraint owner_must_be_a_member foreign key (id, owner_id)
    references public.workspace_members (workspace_id, user_id) deferrable initially deferred;
create index workspaces_by_owner on public.workspaces (owner_id, id);

create table public.workspace_agents (
  workspace_id uuid not null
    constraint workspace_agents_workspace_id_fkey references public.workspaces (id) on delete cascade,
  address text not null
    constraint address_must_be_1_to_128_printable_characters
      check (address ~ '^[^[:cntrl:]]{1,128}$' and address = btrim(address)),
  created_at timestamptz not null default now(),
  constraint workspace_agents_pkey primary key (workspace_id, address)
);
comment on table public.workspace_agents is
  'Which agents serve a workspace: the addresses that its tasks may be handed to. Only the service role writes it.';
comment on column public.workspace_agents.address is 'An agent''s name or a role; whoever answers to it serves the workspace.';

create table public.clients (
  id uuid constraint clients_pkey primary key default gen_random_uuid(),
  workspace_id uuid not null
    constraint clients_workspace_id_fkey references public.workspaces (id) on delete cascade,
  name text not null
    constraint client_name_must_be_1_to_200_characters check (char_length(btrim(name)) >= 1 and char_length(name) <= 200),
  contact_email text
    constraint contact_email_must_be_an_address check (contact_email ~ '^[^@[:space:]]+@[^@[:space:]]+$' and char_length(contact_email) <= 320),
  status text not null default 'onboarding'
    constraint client_status_must_be_active_onboarding_or_churned check (status in ('active', 'onboarding', 'churned')),
  created_at timestamptz not null default now(),
  constraint clients_of_a_workspace unique (workspace_id, id)
);
comment on table public.clients is 'The agency''s customers, by workspace.';

create table public.tasks (
  id uuid constraint tasks_pkey primary key default gen_random_uuid(),
  workspace_id uuid not null
    constraint tasks_workspace_id_fkey references public.workspaces (id) on delete cascade,
  client_id uuid,
  title text not null
    constraint title_must_be_1_to_500_characters check (char_length(btrim(title)) >= 1 and char_length(title) <= 500),
  description text
    constraint description_must_be_at_most_100000_characters check (char_length(description) <= 100000),
  status text not null default 'todo'
    constraint task_status_must_be_todo_in_progress_review_or_done check (status in ('todo', 'in_progress', 'review', 'done')),
  assignee_id uuid
    constraint tasks_assignee_id_fkey references public.users (id) on delete set null,
  priority text not null default 'medium'
    constraint priority_must_be_low_medium_high_or_urgent check (priority in ('low', 'medium', 'high', 'urgent')),
  due_date date,
  handoff_id uuid,
  note text
    constraint note_must_be_at_most_4000_characters check (char_length(note) <= 4000),
  created_at timestamptz not null default now(),
  constraint client_must_belong_to_the_workspace foreign key (workspace_id, client_id)
    references public.clients (workspace_id, id) on delete set null (client_id),
  constraint assignee_must_be_a_member foreign key (workspace_id, assignee_id)
    references public.workspace_members (workspace_id, user_id) on delete set null (assignee_id)
);
-- A page of a workspace's tasks, newest first. No other index begins with workspace_id: the planner, which takes the
-- policy for a second filter and expects few rows, would take that one and sort the whole workspace.
create index tasks_by_age on public.tasks (workspace_id, created_at desc, id desc);
create index tasks_by_client on public.tasks (client_id, workspace_id);
create index tasks_by_assignee on public.tasks (assignee_id, workspace_id);
create unique index one_task_per_handoff on public.tasks (handoff_id)
  where handoff_id is not null;
comment on table public.tasks is 'What is to be done in a workspace, by a person or, handed off, by an agent.';
comment on column public.tasks.description is 'Markdown.';
comment on column public.tasks.handoff_id is
  'The handoff that works on it, or did so last; its status follows that handoff. No foreign key: handoffs may be pruned.';
comment on column public.tasks.note is 'Why it came back from an agent; null while one works on it.';

-- No statistics on what people write: the planner's estimate, which the API tells whoever asks for a planned count, comes
-- from the rows of all workspaces, and would answer whether others write a certain word.
alter table public.workspaces
  alter column name set statistics 0;
alter table public.clients
  alter column name set statistics 0,
  alter column contact_email set statistics 0;
alter table public.tasks
  alter column title set statistics 0,
  alter column description set statistics 0,
  alter column note set statistics 0;
