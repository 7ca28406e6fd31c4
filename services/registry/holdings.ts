import type { MicroUsd } from '../../domain/money.ts';
import type { Sql } from './database.ts';
import { RegistryError } from './errors.ts';
import type { Holding, HoldingRow, Promised } from './port.ts';

/**
 * Notes what is about to be created. Repeating keeps a confirmed provider id; a name that was released and is wanted
 * again (a stable endpoint) opens anew, without the id of what is gone.
 */
export async function expectHolding(sql: Sql, holding: Holding): Promise<void> {
  await sql`
    insert into anneal.holdings as present
      (name, kind, run_id, workflow_id, spec_hash, hard_deadline, rate_per_hour_micro_usd, promised_micro_usd)
    values (${holding.name}, ${holding.kind}, ${holding.runId}, ${holding.workflowId}, ${holding.specHash},
      ${holding.hardDeadline}, ${holding.ratePerHourMicroUsd}, ${holding.promisedMicroUsd})
    on conflict (name) do update set
      kind = excluded.kind, run_id = excluded.run_id, workflow_id = excluded.workflow_id,
      spec_hash = excluded.spec_hash, hard_deadline = excluded.hard_deadline,
      rate_per_hour_micro_usd = excluded.rate_per_hour_micro_usd,
      promised_micro_usd = excluded.promised_micro_usd,
      provider_id = case when present.gone_at is null then present.provider_id end,
      expected_at = case when present.gone_at is null then present.expected_at else now() end,
      gone_at = null`;
}

/** Adds the provider's id. A name nobody expected is refused: a sweep could not account for it. */
export async function confirmHolding(sql: Sql, name: string, providerId: string): Promise<void> {
  const rows = await sql`
    update anneal.holdings set provider_id = ${providerId} where name = ${name} returning name`;
  if (rows.length === 0) throw new RegistryError(`No holding named ${name} was expected`, 'refused');
}

/** Whether there was an open one. One statement: noting it anew could open the books of what was given back meanwhile. */
export async function moveHoldingDeadline(sql: Sql, name: string, hardDeadline: string): Promise<boolean> {
  const rows = await sql`
    update anneal.holdings set hard_deadline = ${hardDeadline}
    where name = ${name} and gone_at is null returning name`;
  return rows.length > 0;
}

/** Marks as gone; the first time of going stays, and a name never held needs no mark. */
export async function releaseHolding(sql: Sql, name: string, goneAt: string): Promise<void> {
  await sql`update anneal.holdings set gone_at = coalesce(gone_at, ${goneAt}::timestamptz) where name = ${name}`;
}

interface HoldingColumns {
  name: string;
  kind: Holding['kind'];
  run_id: string;
  workflow_id: string;
  spec_hash: string;
  hard_deadline: Date;
  rate_per_hour_micro_usd: string;
  promised_micro_usd: string;
  provider_id: string | null;
  gone_at: Date | null;
}

/** Everything expected or held that was not released, oldest first. */
export async function openHoldings(sql: Sql): Promise<(Holding & { providerId: string | null })[]> {
  return (await holdingsAmong(sql, [])).map(({ goneAt: _goneAt, ...holding }) => holding);
}

/** The open ones, and those of the given names whether open or not; oldest first. */
export async function holdingsAmong(sql: Sql, names: readonly string[]): Promise<HoldingRow[]> {
  // No array parameter: its type would have to be fetched, which a transaction pooler does not allow.
  const named = names.length === 0 ? sql`false` : sql`name in ${sql([...names])}`;
  const rows = await sql<HoldingColumns[]>`
    select name, kind, run_id, workflow_id, spec_hash, hard_deadline, rate_per_hour_micro_usd, promised_micro_usd,
      provider_id, gone_at
    from anneal.holdings where gone_at is null or ${named} order by expected_at, name`;
  return rows.map((row) => ({
    name: row.name,
    kind: row.kind,
    runId: row.run_id,
    workflowId: row.workflow_id,
    specHash: row.spec_hash,
    hardDeadline: row.hard_deadline.toISOString(),
    ratePerHourMicroUsd: Number(row.rate_per_hour_micro_usd) as MicroUsd,
    promisedMicroUsd: Number(row.promised_micro_usd) as MicroUsd,
    providerId: row.provider_id,
    goneAt: row.gone_at?.toISOString() ?? null,
  }));
}

/**
 * See the port. Runs count in the order of their first expectation, so that of two one is always first and keeps its place
 * between two pods. A promise ends with the run, or with the last deadline of what it held: a terminated run has no end in
 * the books. Open intervals of the ledger are counted up to now.
 */
export async function promisedBefore(sql: Sql, name: string): Promise<Promised> {
  const [row] = await sql<{ rate: string; remaining: string }[]>`
    with firsts as (
      select run_id, min(expected_at) as first_at, max(hard_deadline) as last_deadline from anneal.holdings group by run_id),
    me as (select f.* from firsts f join anneal.holdings h using (run_id) where h.name = ${name}),
    earlier as (
      select f.run_id from firsts f, me
      where f.run_id <> me.run_id and (f.first_at, f.run_id) < (me.first_at, me.run_id) and f.last_deadline > now()
        and not exists (select 1 from anneal.runs r where r.run_id = f.run_id and r.state is not null)),
    promises as (
      select coalesce(
        (select r.cap_micro_usd - spent.sum
          from anneal.runs r, lateral (
            select coalesce(sum(case when l.ended_at is not null then l.amount_micro_usd else greatest(l.amount_micro_usd,
              l.rate_per_hour_micro_usd * extract(epoch from now() - l.started_at) / 3600) end), 0) as sum
            from anneal.ledger l where l.run_id = r.run_id) spent
          where r.run_id = e.run_id),
        (select max(h.promised_micro_usd) from anneal.holdings h where h.run_id = e.run_id)) as remaining
      from earlier e),
    under_way as (
      select max(h.rate_per_hour_micro_usd) as rate from anneal.holdings h join earlier e using (run_id)
      where h.kind = 'pod' and h.gone_at is null
      group by h.run_id having count(h.provider_id) = 0)
    select coalesce((select sum(rate) from under_way), 0) as rate,
      floor(coalesce((select sum(greatest(remaining, 0)) from promises), 0)) as remaining`;
  return {
    ratePerHourMicroUsd: Number(row?.rate ?? 0) as MicroUsd,
    untilCapsMicroUsd: Number(row?.remaining ?? 0) as MicroUsd,
  };
}

/** Stores the key a pod proved to be its own; a restarted pod proves anew and may bring another. */
export async function pinHostKey(sql: Sql, podName: string, key: { algorithm: string; blob: string }): Promise<void> {
  await sql`
    insert into anneal.host_keys (pod_name, algorithm, blob) values (${podName}, ${key.algorithm}, ${key.blob})
    on conflict (pod_name) do update set algorithm = excluded.algorithm, blob = excluded.blob, pinned_at = now()`;
}

/** base64 of the raw key blob, as `SshTarget` takes it. */
export async function pinnedHostKey(sql: Sql, podName: string): Promise<string | null> {
  const [row] = await sql<{ blob: string }[]>`select blob from anneal.host_keys where pod_name = ${podName}`;
  return row?.blob ?? null;
}
