-- Floor: a notification for each statement, and nothing else.
create function bench_ring() returns trigger language plpgsql as $$
begin
  perform pg_notify('bell', '');
  return null;
end $$;
create trigger bench_ring after insert on handoffs
  for each statement execute function bench_ring();
