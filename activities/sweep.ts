import { getClient, log } from '@temporalio/activity';
import type { SweepActivities } from '../contract/activities.ts';
import { askBoundServer } from './lib/bound-server.ts';
import { heartbeating } from './lib/heartbeat.ts';
import { sweepAccount, type SweepDependencies } from './lib/sweep-account.ts';

export const createSweepActivities = (deps: SweepDependencies): SweepActivities => ({
  async sweepOnce({ dryRun }) {
    const report = await heartbeating(async () => {
      const witness = await askBoundServer(getClient(), deps);
      return sweepAccount(deps, { ...witness, nowMs: Date.now(), dryRun });
    });
    for (const { resource, id, name, reason } of report.ended)
      log.warn('swept', { resource, id, name, reason, dryRun });
    for (const failure of report.failures) log.error('would not go', { ...failure });
    return report;
  },
});
