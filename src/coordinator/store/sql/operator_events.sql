-- A page of what :seen can see behind the number :after, in order, at most :page of them; a null filter lets all
-- pass. No row: that was all.
select e.sequence, e.occurred_at, e.event, e.handoff_id, e.attempt, e.agent, e.by_user, e.by_application, e.detail
from public.coordination_events e
where e.sequence > :after::bigint
  and (e.sequence <= :floor::bigint or pg_visible_in_snapshot(e.xid, :seen::text::pg_snapshot))
  and (:handoff_id::uuid is null or e.handoff_id = :handoff_id::uuid)
  and (:agent::text is null or e.agent = :agent::text)
order by e.sequence
limit :page::bigint
