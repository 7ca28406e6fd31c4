import { getClient, log } from '@temporalio/activity';
import type { SweepActivities } from '../contract/activities.ts';
import { heartbeating } from './lib/heartbeat.ts';
import { askServer } from './lib/run-state.ts';
import { sweepAccount, type SweepDependencies } from './lib/sweep-account.ts';

export const createSweepActivities = (deps: SweepDependencies): SweepActivities => ({
  async sweepOnce({ dryRun }) {
    const runState = askServer(getClient());
    const report = await heartbeating(() => sweepAccount(deps, { runState, nowMs: Date.now(), dryRun }));
    for (const { resource, id, name, reason } of report.ended)
      log.warn('swept', { resource, id, name, reason, dryRun });
    for (const failure of report.failures) log.error('would not go', { ...failure });
    return report;
  },
});
