-- A job that goes on on another pod begins a log of its own there. `seq` is the order in which pieces came, for readers
-- that follow; writers of one job take turns, so it grows with the offset.
alter table anneal.job_logs
  add column pod_id text not null default '',
  add column seq bigint generated always as identity,
  add column stored_at timestamptz not null default now();
alter table anneal.job_logs drop constraint job_logs_pkey;
alter table anneal.job_logs add primary key (run_id, job_id, pod_id, from_offset);
create index job_logs_seq on anneal.job_logs (run_id, seq);
