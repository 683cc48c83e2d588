-- Record progress; refused (ZH001) where the attempt no longer stands. Always one row: whether to cancel the work.
select report_progress(
  handoff_id => :handoff_id::uuid,
  attempt => :attempt::integer,
  agent_name => :agent_name::text,
  incarnation => :incarnation::uuid,
  note => :note::text,
  detail => :detail::jsonb
) as cancel_requested
