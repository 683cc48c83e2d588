-- The first statement of a migration's script: give up soon where somebody else holds a table, since everybody who
-- wants it would have to wait behind us; and sooner than the server looks for deadlocks (1 s), whose victim could be
-- somebody at work. One row.
select set_config('lock_timeout', '500ms', true)
