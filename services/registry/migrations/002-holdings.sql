-- What is rented, or about to be: the list a sweep works from without Temporal.
create table anneal.holdings (
  name text primary key,
  kind text not null check (kind in ('pod', 'endpoint', 'template')),
  run_id text not null,
  workflow_id text not null,
  spec_hash text not null,
  hard_deadline timestamptz not null,
  provider_id text,
  expected_at timestamptz not null default now(),
  gone_at timestamptz
);
create index holdings_open on anneal.holdings (expected_at) where gone_at is null;

-- The SSH host key a pod proved to be its own; `blob` is base64 of the raw key.
create table anneal.host_keys (
  pod_name text primary key,
  algorithm text not null,
  blob text not null,
  pinned_at timestamptz not null default now()
);
