-- Say which migration comes next; migration_record reads it. One row. A script takes no parameters, so it is a setting.
select set_config('coordinator.migration', :migration::jsonb::text, false)
