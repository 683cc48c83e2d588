-- The first statement of a migration's script: give up soon where somebody else holds a table, since everybody who
-- wants it would have to wait behind us. One row.
select set_config('lock_timeout', '5s', true)
