import { getClient } from '@temporalio/activity';
import type { LedgerActivities } from '../contract/activities.ts';
import type { Json } from '../contract/json.ts';
import type { Stage } from '../contract/stage-names.ts';
import type { ActivityDependencies } from './dependencies.ts';

type Dependencies = Pick<ActivityDependencies, 'registry'>;

const iso = (ms: number): string => new Date(ms).toISOString();

/** Copies of what the workflow knows, for reports and for a sweep without Temporal. Each write is idempotent by its key. */
export const createLedgerActivities = ({ registry }: Dependencies): LedgerActivities => ({
  async cancelOwnRun({ workflowId, runId }) {
    await getClient().workflow.getHandle(workflowId, runId).cancel();
  },

  async recordRun({ run, spec, cap }) {
    const { runId, workflowId, name, release } = run;
    await registry.saveRun({ runId, workflowId, name, release, spec, capMicroUsd: cap });
  },

  async recordStage({ run, report, detail }) {
    const { stage, state, startedAtMs, endedAtMs, cost } = report;
    if (state === 'pending' || state === 'waiting' || state === 'running') return;
    const now = Date.now();
    await registry.recordStage({
      runId: run.runId,
      stage,
      state,
      startedAt: iso(startedAtMs ?? endedAtMs ?? now),
      endedAt: iso(endedAtMs ?? now),
      costMicroUsd: cost,
      detail,
    });
  },

  async recordSpend({ run, resource, resourceId, ratePerHour, fromMs, toMs, amount, overrun }) {
    await registry.saveLedger({
      entryId: `${run.runId}/${resource}/${resourceId}`,
      runId: run.runId,
      resource,
      resourceId,
      ratePerHourMicroUsd: ratePerHour,
      from: iso(fromMs),
      to: toMs === null ? null : iso(toMs),
      amountMicroUsd: amount,
      overrun,
    });
  },

  async finishRun({ run, state, spent, endedAtMs, outputs }) {
    for (const [stage, output] of Object.entries(outputs as Record<string, Json>)) {
      await registry.saveOutput(run.runId, stage as Stage, output);
    }
    await registry.finishRun(run.runId, { state, spentMicroUsd: spent, endedAt: iso(endedAtMs) });
  },
});
