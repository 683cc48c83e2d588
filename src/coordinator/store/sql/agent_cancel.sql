-- Ask that a handoff be cancelled. Always one row: cancelled, requested or completed.
select cancel_handoff(handoff_id => :handoff_id::uuid, reason => :reason::text) as answer
