import type { Sql } from './database.ts';
import type { LedgerEntry } from './port.ts';

/** Upserts an interval. A late repeat of a running one never reopens an interval that was closed meanwhile. */
export async function saveLedger(sql: Sql, entry: LedgerEntry): Promise<void> {
  await sql`
    insert into anneal.ledger as present
      (entry_id, run_id, resource, resource_id, rate_per_hour_micro_usd, started_at, ended_at, amount_micro_usd, overrun)
    values (${entry.entryId}, ${entry.runId}, ${entry.resource}, ${entry.resourceId}, ${entry.ratePerHourMicroUsd},
      ${entry.from}, ${entry.to}, ${entry.amountMicroUsd}, ${entry.overrun})
    on conflict (entry_id) do update set
      run_id = excluded.run_id, resource = excluded.resource, resource_id = excluded.resource_id,
      rate_per_hour_micro_usd = excluded.rate_per_hour_micro_usd, started_at = excluded.started_at,
      ended_at = excluded.ended_at, amount_micro_usd = excluded.amount_micro_usd, overrun = excluded.overrun
    where present.ended_at is null or excluded.ended_at is not null`;
}
