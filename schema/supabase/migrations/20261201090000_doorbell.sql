-- The doorbell falls silent while the daemon looks by itself. Commits that notify queue behind one lock of the whole
-- server; in a burst the leader therefore hushes those who would ring, and reads the audit trail instead.
-- docs/decisions/0021 tells why no wake-up can be lost by it.

create unlogged sequence coordination.bell as smallint;
comment on sequence coordination.bell is
  '2: the leader looks by itself, and nobody need ring. Anything else: ring. A sequence, since it is read and set at once, whatever transaction is open; a crash of the server resets it.';

-- Volatile, as it must be: a stable function could answer from before the writer had its transaction id. Called by
-- triggers that run after a change, never before one, for the same reason.
create or replace function coordination.ring(channel text, event text, key text, names text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  payload text;
begin
  if (select b.last_value from coordination.bell b) = 2 then
    return;
  end if;
  payload := jsonb_build_object('event', event, key, names)::text;
  -- A payload of 8,000 bytes or more makes pg_notify raise. Without names it means: look everywhere.
  perform pg_notify(channel, case
    when octet_length(payload) < 7000 then payload
    else jsonb_build_object('event', event)::text
  end);
end $$;
comment on function coordination.ring is
  'Notify a doorbell channel of an event, naming what changed where that fits; not while the leader looks by itself.';

-- What leaves no event is not in the audit trail, so it rings whatever the bell says.
create function coordination.handoff_rescheduled() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform pg_notify('handoffs', case
    when new.due then jsonb_build_object('event', 'queued', 'addresses', array[new.to_agent])
    else jsonb_build_object('event', 'delayed', 'addresses', '{}'::text[])
  end::text);
  return null;
end $$;
comment on function coordination.handoff_rescheduled is 'Ring for a pending handoff that became due, or due at another time.';

create trigger handoffs_rescheduled after update of available_at, due on public.handoffs
  for each row when (
    old.status = 'pending'
    and new.status = 'pending'
    and (new.available_at <> old.available_at or new.due <> old.due)
  )
  execute function coordination.handoff_rescheduled();

-- A dead leader leaves the bell as it was, and its successor may be of a release that knows no bell.
create function coordination.bell_is_anew() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform setval('coordination.bell', 1);
  return null;
end $$;
comment on function coordination.bell_is_anew is 'A term begins with everybody ringing.';

create trigger leadership_begins after update of term on coordination.leadership
  for each row execute function coordination.bell_is_anew();

-- Nothing is open by default, whatever default privileges the database has.
do $$
declare
  stranger text;
begin
  for stranger in
    select 'public' union all
    select quote_ident(r.rolname) from pg_roles r where r.rolname in ('anon', 'authenticated', 'service_role')
  loop
    execute format('revoke all on sequence coordination.bell from %s', stranger);
    execute format('revoke execute on function coordination.handoff_rescheduled, coordination.bell_is_anew from %s', stranger);
  end loop;
end $$;
grant select, update on sequence coordination.bell to coordinator_daemon;
