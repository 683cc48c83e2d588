-- Make the history table of the Supabase CLI as the CLI itself would; a table that is there stays as it is, but gets
-- the columns that older versions of the CLI did not have. No row.
do $$
begin
  if to_regclass('supabase_migrations.schema_migrations') is null then
    create schema if not exists supabase_migrations;
    create table supabase_migrations.schema_migrations (version text not null primary key, statements text[], name text);
  elsif 2 > (
    select count(*)
    from pg_attribute a
    where a.attrelid = 'supabase_migrations.schema_migrations'::regclass
      and a.attname in ('statements', 'name')
      and not a.attisdropped)
  then
    alter table supabase_migrations.schema_migrations
      add column if not exists statements text[],
      add column if not exists name text;
  end if;
end $$
