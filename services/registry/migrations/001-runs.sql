-- Runs and what they did. No foreign keys: each write is idempotent by itself and may arrive in any order,
-- since the registry being away must never hold up a run. Money is whole micro-dollars.
create table anneal.runs (
  run_id text primary key,
  workflow_id text,
  name text,
  release text,
  spec jsonb,
  cap_micro_usd bigint,
  state text,
  spent_micro_usd bigint,
  ended_at timestamptz,
  recorded_at timestamptz not null default now()
);
create index runs_by_name on anneal.runs (name, recorded_at desc);

create table anneal.stage_events (
  run_id text not null,
  stage text not null,
  started_at timestamptz not null,
  state text not null,
  ended_at timestamptz not null,
  cost_micro_usd bigint not null,
  detail jsonb,
  primary key (run_id, stage, started_at)
);

create table anneal.ledger (
  entry_id text primary key,
  run_id text not null,
  resource text not null,
  resource_id text not null,
  rate_per_hour_micro_usd bigint not null,
  started_at timestamptz not null,
  ended_at timestamptz,
  amount_micro_usd bigint not null,
  overrun boolean not null
);
create index ledger_by_run on anneal.ledger (run_id);
create index ledger_by_start on anneal.ledger (started_at);

create table anneal.outputs (
  run_id text not null,
  stage text not null,
  output jsonb,
  saved_at timestamptz not null default now(),
  primary key (run_id, stage)
);
