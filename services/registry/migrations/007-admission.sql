-- What a rented thing may cost per hour, and what its run may still spend: runs that are about to rent count each other in.
alter table anneal.holdings add column rate_per_hour_micro_usd bigint not null default 0;
alter table anneal.holdings add column promised_micro_usd bigint not null default 0;

-- Times that estimates learn from; null for what an older version recorded.
alter table anneal.stage_events add column worked_ms bigint;
alter table anneal.stage_events add column gpu_type_id text;
