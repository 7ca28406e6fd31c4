import { ApplicationFailure, CancellationScope, log, setHandler, workflowInfo } from '@temporalio/workflow';
import { STAGES, type Stage } from '../../contract/stage-names.ts';
import type { Plan, StageReport } from '../../contract/stages.ts';
import { fromUsd, toUsd } from '../../domain/money.ts';
import { changeFaults, firstAffected, withChanges, type SpecChanges } from '../../domain/spec-changes.ts';
import { cancelOwnRun, planRun } from '../activity-proxies.ts';
import * as messages from '../messages.ts';
import { DESCRIPTIONS, type ApprovalStage } from '../messages.ts';
import { toRunFailure } from './failures.ts';
import type { Run } from './run.ts';

/** Registers every message of a run, each with the description that makes it a form in the Web UI. */
export function listen(run: Run): void {
  const describe = (name: keyof typeof DESCRIPTIONS): { description: string } => ({ description: DESCRIPTIONS[name] });
  setHandler(messages.getProgressQuery, () => run.progress(), describe('getProgress'));
  setHandler(messages.getPlanQuery, () => run.plan, describe('getPlan'));
  setHandler(messages.getSpendQuery, () => run.lastSpend, describe('getSpend'));
  setHandler(
    messages.stageEdgeSignal,
    (edge: unknown) => {
      if (isEdge(edge)) run.board.adopt(edge);
      else log.warn('a stage edge of unknown shape was ignored');
    },
    describe('stageEdge'),
  );
  setHandler(
    messages.cancelRunSignal,
    async (reason) => {
      log.info('cancel requested', { reason });
      const { workflowId, runId } = workflowInfo();
      try {
        // The cancel that comes back must not cancel its own messenger.
        await CancellationScope.nonCancellable(() => cancelOwnRun({ workflowId, runId }));
      } catch (error) {
        // An error that leaves a signal handler would end the run without its clean-up.
        log.error('the run could not be cancelled; use the server’s own cancel', { error: String(error) });
      }
    },
    describe('cancelRun'),
  );
  setHandler(messages.extendBudgetUpdate, (usd) => extendBudget(run, usd), {
    ...describe('extendBudget'),
    validator: requirePositiveUsd,
  });
  setHandler(messages.approveUpdate, (stage, by, note) => approve(run, stage, by, note), {
    ...describe('approve'),
    validator: (stage: ApprovalStage, _by, _note) => {
      requireApprovalStage(run, stage);
    },
  });
  // The temporal command line may send no argument at all.
  const given = (changes: SpecChanges | null | undefined): SpecChanges => changes ?? {};
  setHandler(messages.continueRunUpdate, (changes: SpecChanges) => continueRun(run, given(changes)), {
    ...describe('continueRun'),
    validator: (changes: SpecChanges) => {
      requireContinuable(run, given(changes));
    },
  });
}

/** Anybody may send a signal; one that makes a handler throw would stall the run for ever. */
function isEdge(edge: unknown): edge is StageReport {
  const { stage, state, note, cost, startedAtMs, endedAtMs } = (edge ?? {}) as Partial<StageReport>;
  const isTime = (value: unknown): boolean => value === null || typeof value === 'number';
  return (
    STAGES.some((known) => known === stage) &&
    typeof state === 'string' &&
    typeof note === 'string' &&
    typeof cost === 'number' &&
    isTime(startedAtMs) &&
    isTime(endedAtMs)
  );
}

function extendBudget(run: Run, usd: number): { capUsd: number } {
  const capUsd = toUsd(run.budget.extend(fromUsd(usd)));
  run.deadline.moveSoon();
  // Other runs count with what this one may spend.
  run.books.copy();
  run.attributes.set({ BudgetUsd: capUsd });
  run.show();
  return { capUsd };
}

function approve(run: Run, stage: ApprovalStage, by: string, note: string): { approved: ApprovalStage } {
  log.info('approved', { stage, by, note });
  run.approved.add(stage);
  return { approved: stage };
}

/** A plan that is refused leaves the run waiting: nothing has been changed by then. */
async function continueRun(run: Run, changes: SpecChanges): Promise<{ stage: Stage; changed: string[] }> {
  const changed = Object.keys(changes);
  if (changed.length > 0) {
    const waiting = run.attention.pending();
    const plan = await planAgain(run, changes);
    // Planning takes a while: somebody else may have answered, or the wait may be over.
    if (run.attention.pending() !== waiting) throw refusal('the run went on meanwhile; nothing was changed');
    const affected = firstAffected(run.requirePlan().spec, plan.spec);
    if (run.isBuilt && affected !== null && STAGES.indexOf(affected) < STAGES.indexOf('deploy')) {
      throw refusal(
        `the release is published, and ${affected} cannot be repeated in this run; cancel it, then use anneal run resume with --set`,
      );
    }
    run.adoptPlan(plan);
    run.remedies.startOver();
  }
  log.info('continued', { changed });
  run.jobSeries++;
  run.attention.answer();
  return { stage: run.board.current(), changed };
}

/** The same release of the same base, with another spec. */
async function planAgain(run: Run, changes: SpecChanges): Promise<Plan> {
  const { spec, base } = run.requirePlan();
  const { workflowId, runId, runStartTime } = workflowInfo();
  const same = { 'base.revision': base.commit, 'budget.capUsd': toUsd(run.budget.currentCap()) };
  try {
    const changed = withChanges(withChanges(spec, changes), same);
    const notDone = run.stagesNotDone();
    const heldPerHour = run.budget.snapshot().ratePerHour;
    const startedAtMs = runStartTime.getTime();
    return await planRun({ spec: changed, workflowId, runId, startedAtMs, notDone, heldPerHour });
  } catch (error) {
    throw toRunFailure(error);
  }
}

const refusal = (message: string): ApplicationFailure => ApplicationFailure.nonRetryable(message, 'InvalidInput');

function requireContinuable(run: Run, changes: SpecChanges): void {
  const refuse = (message: string): never => {
    throw refusal(message);
  };
  if (!run.attention.pending()) refuse('no failure of this run waits for a person; see budget.onFailure.keep');
  if (typeof changes !== 'object' || Array.isArray(changes)) refuse('changes are an object of spec path to value');
  const faults = changeFaults(changes);
  if ('budget.capUsd' in changes) faults.push('budget.capUsd is raised by extendBudget');
  if (faults.length > 0) refuse(faults.join('; '));
}

function requirePositiveUsd(usd: number): void {
  if (typeof usd !== 'number' || !(usd > 0) || usd > 100_000) {
    throw ApplicationFailure.nonRetryable('extendBudget takes a positive amount in USD, for example 5', 'InvalidInput');
  }
}

function requireApprovalStage(run: Run, stage: ApprovalStage): void {
  if (!run.plan?.spec.approvals.includes(stage)) {
    throw ApplicationFailure.nonRetryable(`this run does not wait for approval of "${stage}"`, 'InvalidInput');
  }
}
