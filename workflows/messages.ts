import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import type { Stage } from '../contract/stage-names.ts';
import type { Plan, Progress, Spend, StageReport } from '../contract/stages.ts';
import type { SpecChanges } from '../domain/spec-changes.ts';

/** What people and clients may say to a run. The names are published API: they stand in histories and runbooks. */

export type ApprovalStage = 'provision' | 'deploy';

export const cancelRunSignal = defineSignal<[reason?: string]>('cancelRun');
/** A `deployRelease` child tells the run that waits for it about a stage edge. */
export const stageEdgeSignal = defineSignal<[edge: StageReport]>('stageEdge');

export const extendBudgetUpdate = defineUpdate<{ capUsd: number }, [usd: number]>('extendBudget');
export const approveUpdate = defineUpdate<
  { approved: ApprovalStage },
  [stage: ApprovalStage, by: string, note: string]
>('approve');
export const continueRunUpdate = defineUpdate<{ stage: Stage; changed: string[] }, [changes: SpecChanges]>(
  'continueRun',
);

export const getProgressQuery = defineQuery<Progress>('getProgress');
export const getPlanQuery = defineQuery<Plan | null>('getPlan');
export const getSpendQuery = defineQuery<Spend>('getSpend');

export const DESCRIPTIONS = {
  cancelRun:
    'Cancels the run: its pod and candidate endpoint are ended, then the run closes as Cancelled. Argument: a reason.',
  stageEdge: 'Sent by the deploy-release child of this run.',
  extendBudget: 'Adds dollars to the cap. Argument: the amount in USD, for example 5.',
  approve: 'Lets the run go on before "provision" or "deploy". Arguments: stage, your name, a note.',
  continueRun:
    'Goes on after a failure that waits for a person (budget.onFailure.keep), at the stage that failed. Argument: changes to the spec or nothing, for example {"quantize.groupSize": 64}.',
  getProgress: 'Stages, job being followed, ids and spend.',
  getPlan: 'What was planned: commit, ladder with prices, sizes, estimate.',
  getSpend: 'Recorded spend, rate per hour since when, cap. Amounts are micro-dollars.',
} as const;
