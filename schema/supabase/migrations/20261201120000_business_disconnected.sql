-- A pass that takes back what a process left behind that has gone is a pass like the others: where the task is locked
-- elsewhere it leaves the handoff as it is, and comes again.
drop trigger agency_1_pass_by_locked_task on public.handoffs;
create trigger agency_1_pass_by_locked_task before update on public.handoffs
  for each row when (
    (new.status = 'in_progress' and old.status = 'pending' and new.held_by is null
      or new.status <> 'in_progress' and old.status <> 'completed' and new.end_reason is distinct from old.end_reason
        and new.end_reason in ('lapsed', 'disconnected', 'unaccepted', 'timed_out', 'cancel_grace', 'deadline'))
    and new.context ? 'task_id'
  )
  execute function agency.pass_by_locked_task();
