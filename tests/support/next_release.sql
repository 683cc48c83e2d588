-- What a migration may do to releases that do not know it: a column with a default, one without, a
-- table, an index, a function, a function that does more than before, a constraint that asks less.
alter table public.handoffs add column weather text not null default 'fair';
alter table public.agent_status add column mood text;
create index handoffs_by_weather on public.handoffs (weather) where weather <> 'fair';
alter table public.handoffs drop constraint context_must_be_a_json_object;
alter table public.handoffs add constraint context_must_be_a_json_object
  check (jsonb_typeof(context) in ('object', 'array'));

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
