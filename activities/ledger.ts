import { getClient } from '@temporalio/activity';
import type { LedgerActivities } from '../contract/activities.ts';
import type { StageReport } from '../contract/stages.ts';
import type { StageEvent } from '../services/registry/port.ts';
import type { ActivityDependencies } from './dependencies.ts';

type Dependencies = Pick<ActivityDependencies, 'registry'>;

const iso = (ms: number): string => new Date(ms).toISOString();

/** Copies of what the workflow knows, for reports and for a sweep without Temporal. Each write is idempotent by its key. */
export const createLedgerActivities = ({ registry }: Dependencies): LedgerActivities => ({
  async cancelOwnRun({ workflowId, runId }) {
    await getClient().workflow.getHandle(workflowId, runId).cancel();
  },

  async keepBooks({ run, spec, cap, spent, overrun, meters, stages, end }) {
    const { runId, workflowId, name, release } = run;
    await registry.saveRun({ runId, workflowId, name, release, spec, capMicroUsd: cap });
    for (const { resource, resourceId, ratePerHour, fromMs, toMs, amount } of meters) {
      await registry.saveLedger({
        entryId: `${runId}/${resource}/${resourceId}`,
        runId,
        resource,
        resourceId,
        ratePerHourMicroUsd: ratePerHour,
        from: iso(fromMs),
        to: toMs === null ? null : iso(toMs),
        amountMicroUsd: amount,
        overrun: overrun > 0,
      });
    }
    for (const { report, output } of stages) {
      await registry.recordStage({ runId, ...toStageEvent(report), detail: output });
      // Also null: what a changed spec made stale must not be taken for its output.
      await registry.saveOutput(runId, report.stage, output);
    }
    if (end) await registry.finishRun(runId, { state: end.state, spentMicroUsd: spent, endedAt: iso(end.atMs) });
  },
});

function toStageEvent({
  stage,
  state,
  startedAtMs,
  endedAtMs,
  workedMs,
  gpuTypeId,
  cost,
}: StageReport): Omit<StageEvent, 'runId' | 'detail'> {
  const at = startedAtMs ?? endedAtMs ?? 0;
  return {
    stage,
    state: state === 'completed' || state === 'skipped' || state === 'cancelled' ? state : 'failed',
    startedAt: iso(at),
    endedAt: iso(endedAtMs ?? at),
    workedMs,
    gpuTypeId,
    costMicroUsd: cost,
  };
}
