-- Fix, for this transaction, every setting that changes how PostgreSQL words a definition. One row.
select
  set_config('search_path', '', true),
  set_config('datestyle', 'ISO, YMD', true),
  set_config('intervalstyle', 'postgres', true),
  set_config('timezone', 'UTC', true),
  set_config('quote_all_identifiers', 'off', true),
  set_config('standard_conforming_strings', 'on', true),
  set_config('extra_float_digits', '1', true)
