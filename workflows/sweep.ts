import type { SweepReport } from '../contract/sweep.ts';
import { sweepOnce } from './activity-proxies.ts';

/** One sweep of the account, started by a schedule. Completed even when something would not go: the report names it. */
export async function sweep(input: { dryRun?: boolean } = {}): Promise<SweepReport> {
  return sweepOnce({ dryRun: input.dryRun ?? false });
}
