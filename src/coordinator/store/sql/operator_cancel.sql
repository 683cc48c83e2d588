-- Cancel a handoff. One row with the verdict: cancelled, requested (its agent is asked to stop), completed (too late).
select public.cancel_handoff(:handoff_id::uuid, :reason::text) as verdict
