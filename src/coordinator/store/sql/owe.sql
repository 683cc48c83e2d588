-- After everybody was told to ring. One row: a transaction id above that of everybody who may still keep silent, and
-- the snapshot to read changes from where there is none yet. Its own id: the end of a snapshot is not the next id.
select pg_current_xact_id()::text as debt, pg_current_snapshot()::text as seen
