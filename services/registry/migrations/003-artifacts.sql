-- Small binary state of a job, in rows a pooler and a backup handle easily.
create table anneal.checkpoints (
  run_id text not null,
  stage text not null,
  what text not null,
  part integer not null,
  parts integer not null,
  sha256 text not null,
  bytes bytea not null check (octet_length(bytes) <= 262144),
  saved_at timestamptz not null default now(),
  primary key (run_id, stage, what, part)
);

-- Offsets count UTF-8 bytes of the job's log; `text` has NUL characters replaced, so its length may differ.
create table anneal.job_logs (
  run_id text not null,
  job_id text not null,
  from_offset bigint not null,
  end_offset bigint not null,
  text text not null,
  primary key (run_id, job_id, from_offset)
);

-- Our own copy of each deployment, kept even where inference_deployments has another shape.
create table anneal.deployments (
  run_id text not null,
  endpoint_id text not null,
  model_id text not null,
  template_id text not null,
  hub_repo text not null,
  hub_commit text not null,
  gpu text not null,
  state text not null,
  cost_so_far_micro_usd bigint not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (run_id, endpoint_id)
);
