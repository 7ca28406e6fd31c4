-- What sweeps saw rented though nobody holds it: nothing is ended at first sight. Forgotten once it is held.
create table anneal.sightings (
  resource text not null check (resource in ('pod', 'endpoint', 'template')),
  provider_id text not null,
  name text not null,
  first_seen_at timestamptz not null,
  last_seen_at timestamptz not null,
  sweeps integer not null default 1,
  primary key (resource, provider_id)
);
