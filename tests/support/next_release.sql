-- What a migration may do to releases that do not know it: columns with a default and without, a
-- table, an index, a function, a trigger, a further event, a function that does more than before.
alter table public.handoffs add column weather text not null default 'fair';
alter table public.agent_status add column mood text;
alter table public.coordination_events add column weather text;
create index handoffs_by_weather on public.handoffs (weather) where weather <> 'fair';

create table coordination.forecasts (
  day date primary key,
  weather text not null
);
revoke all on coordination.forecasts from public;
grant select on coordination.forecasts to coordinator_daemon;

create function public.forecast(day date) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$ select f.weather from coordination.forecasts f where f.day = forecast.day $$;
revoke all on function public.forecast(date) from public;
grant execute on function public.forecast(date) to coordinator_agent;

create function coordination.handoffs_weather() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  new.weather := coalesce(public.forecast(current_date), new.weather);
  return new;
end
$$;
revoke all on function coordination.handoffs_weather() from public;
create trigger handoffs_weather before insert on public.handoffs
  for each row execute function coordination.handoffs_weather();

create function coordination.handoffs_weathered() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into public.coordination_events (handoff_id, attempt, event, detail)
  select n.id, 0, 'handoff.weathered', '{}' from new_rows n;
  return null;
end
$$;
revoke all on function coordination.handoffs_weathered() from public;
create trigger handoffs_weathered after insert on public.handoffs
  referencing new table as new_rows
  for each statement execute function coordination.handoffs_weathered();

-- As it was, and a notice beside what it does.
do $more$
declare
  before text := pg_get_functiondef('public.leave'::regproc);
  after text := regexp_replace(before, '\mbegin\M', 'begin perform public.forecast(current_date);');
begin
  if before = after then
    raise exception 'public.leave has no begin';
  end if;
  execute after;
end
$more$;
