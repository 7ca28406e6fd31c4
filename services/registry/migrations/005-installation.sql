-- Which Temporal namespace runs an installation's pipelines. A sweep that is connected to another one would take every
-- run for closed, since it knows none of them.
create table anneal.installation (
  installation text primary key,
  namespace_id text not null,
  bound_at timestamptz not null default now()
);
