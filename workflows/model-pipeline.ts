import { CancelledFailure, CancellationScope, isCancellation, workflowInfo } from '@temporalio/workflow';
import type { Json } from '../contract/json.ts';
import type { PipelineInput, PipelineResult, Plan } from '../contract/stages.ts';
import { reserveFor } from '../domain/budget.ts';
import { fromUsd } from '../domain/money.ts';
import { servingRate } from '../domain/serving-bound.ts';
import { stagesNotDone, untilFault } from '../domain/stages-wanted.ts';
import { planRun, registerModel, releaseEndpoints } from './activity-proxies.ts';
import { deploymentNames, type DeployReleaseResult } from './deploy-release.ts';
import { buildRelease } from './lib/build-release.ts';
import { failure, toRunFailure } from './lib/failures.ts';
import { Run } from './lib/run.ts';
import { startDeploy } from './lib/start-deploy.ts';

/**
 * From a Hub id to a live, tested, registered endpoint. Completed means registered, or the last stage the spec asks for.
 * Cancelled by Temporal's cancel or the `cancelRun` signal; every other end is Failed with a type of contract/failures.
 * Whatever the end, nothing rented is left that nobody uses, or the type is CleanupIncomplete.
 */
export async function modelPipeline(given: PipelineInput): Promise<PipelineResult> {
  // A start by another tool may have passed nothing at all; `plan` says so, a thrown TypeError would stall the run.
  const input = (given as PipelineInput | null | undefined) ?? { spec: null };
  const run = openRun(input);
  return closing(run, async () => {
    const plan = await run.stage(
      'plan',
      () => planThis(input),
      ({ base }) => `${base.repo}@${base.commit.slice(0, 12)}`,
    );
    const fault = input.until === undefined ? null : untilFault(plan.spec, input.until);
    if (fault !== null) throw failure('InvalidSpec', fault);
    run.acceptPlan(plan);
    await run.takeGiven();

    if (run.wants('provision') && !givenWhole(run)) {
      await run.approval('provision');
      await buildRelease(run);
    }
    run.isBuilt = true;
    if (run.wants('deploy')) {
      await run.approval('deploy');
      await serve(run);
    }
    run.skipRest();
  });
}

/** What was given needs no pod. */
const givenWhole = (run: Run): boolean =>
  run.requirePlan().pods.length === 0 || (run.outputs.publish !== undefined && run.outputs.verify !== undefined);

/** Repeats what failed when a person says so, where the spec lets a failure wait. Nothing is rented meanwhile. */
async function attended(run: Run, story: () => Promise<void>): Promise<void> {
  for (;;) {
    try {
      await story();
      return;
    } catch (error) {
      if (!run.attention.raise(error) || !(await run.attention.answered())) throw error;
    }
  }
}

/**
 * A registration that is repeated finds the deployment as it is, unless a change of the spec asks for another. It never
 * undoes a working endpoint; but a person who cancels does not want a new one.
 */
async function serve(run: Run): Promise<void> {
  let live: DeployReleaseResult | null = null;
  let made: DeployReleaseResult['deploy'] | null = null;
  try {
    await attended(run, async () => {
      if (!live || !run.outputs.smoke) live = await deploy(run);
      if (live.created) made = live.deploy;
      // A cancel that came while the deployment ended has nothing left to interrupt.
      if (CancellationScope.current().consideredCancelled) throw new CancelledFailure('cancelled while it deployed');
      if (run.wants('register')) await register(run, live);
    });
  } catch (error) {
    if (isCancellation(error) && made) await takeDown(run, made);
    throw error;
  }
}

async function takeDown(run: Run, { endpointName, endpointId }: DeployReleaseResult['deploy']): Promise<void> {
  const names = { endpointNames: [endpointName], templateNames: [], knownIds: [endpointId] };
  try {
    await CancellationScope.nonCancellable(() => releaseEndpoints({ run: run.ref, ...names }));
  } catch (error) {
    const details = { endpointNames: [endpointName], endpointIds: [endpointId] };
    const message = `the provider did not confirm that ${endpointName} is gone`;
    throw failure('CleanupIncomplete', message, details, error as Error);
  }
}

/** Handlers exist before the first await, so that no early message is lost. The money is read leniently: plan parses. */
function openRun({ spec, outputs, until }: PipelineInput): Run {
  const raw = (spec ?? {}) as { name?: unknown; budget?: { capUsd?: unknown; warnAt?: unknown } };
  const number = (value: unknown, otherwise: number): number => (typeof value === 'number' ? value : otherwise);
  return new Run({
    title: typeof raw.name === 'string' ? raw.name : workflowInfo().workflowId,
    cap: fromUsd(number(raw.budget?.capUsd, 0)),
    warnAt: number(raw.budget?.warnAt, 0.8),
    given: outputs ?? {},
    until,
  });
}

function planThis({ spec, outputs, until }: PipelineInput): Promise<Plan> {
  const { workflowId, runId, runStartTime } = workflowInfo();
  const notDone = stagesNotDone(outputs ?? {}, until);
  return planRun({ spec, workflowId, runId, startedAtMs: runStartTime.getTime(), notDone });
}

/** The child owns the model's endpoints. A deployment of the same model that is under way is waited for. */
async function deploy(run: Run): Promise<DeployReleaseResult> {
  const plan = run.requirePlan();
  const { repo, commit } = run.output('publish');
  const { answers } = run.output('verify');
  const rate = servingRate(plan);
  const attempt = ++run.deployments;
  const meter = `serving/${plan.release}${attempt > 1 ? `@${attempt}` : ''}`;
  run.budget.setReserve(
    reserveFor(rate, { checkpointLimitMs: 0, terminateAllowanceMs: plan.settings.terminateAllowanceMs }),
  );
  const lifetimeMs = run.deadline.atMs(rate) - Date.now();
  const input = { run: run.ref, plan, repo, commit, answers, lifetimeMs, attempt };
  const started = (): void => {
    run.startMeter(meter, rate);
    run.deadline.hold({ names: deploymentNames(plan, attempt), pod: null });
  };
  try {
    const end = await run.budget.race(
      () => startDeploy(plan.spec.name, input, started),
      () => Promise.resolve(),
    );
    if (end.kind === 'stopped') {
      throw failure(
        'BudgetExceeded',
        'the cap was reached while the release was being deployed; it was taken down again',
      );
    }
    const { deploy: deployed, warmup, smoke } = end.value;
    Object.assign(run.outputs, { deploy: deployed, warmup, smoke });
    run.setIds({ endpointId: deployed.endpointId });
    return end.value;
  } finally {
    run.deadline.hold(null);
    run.stopMeter(meter);
  }
}

const register = (run: Run, live: DeployReleaseResult): Promise<unknown> =>
  run.stage(
    'register',
    () => registerModel(registration(run, live)),
    ({ modelId }) => modelId,
  );

function registration(run: Run, { deploy: deployed, smoke }: DeployReleaseResult): Parameters<typeof registerModel>[0] {
  const { repo, commit } = run.output('publish');
  return {
    run: run.ref,
    plan: run.requirePlan(),
    deploy: deployed,
    publish: { repo, commit },
    smoke,
    spent: run.budget.spent(),
    evaluation: { ablate: run.outputs.ablate ?? null, kl: run.outputs.verify?.kl ?? null } as unknown as Json,
  };
}

/** Ends the run: the result or the failure people should see, and a last row in the ledger. */
async function closing(run: Run, story: () => Promise<void>): Promise<PipelineResult> {
  try {
    await story();
    await run.books.close('Completed', BOOKS_LIMIT_MS);
    return result(run);
  } catch (error) {
    await run.books.close(isCancellation(error) ? 'Cancelled' : 'Failed', BOOKS_LIMIT_MS);
    throw toRunFailure(error);
  }
}

const result = (run: Run): PipelineResult => ({
  name: run.requirePlan().spec.name,
  release: run.requirePlan().release,
  outputs: run.outputs,
  spent: run.budget.spent(),
  cap: run.budget.currentCap(),
  overrun: run.budget.overrun(),
  stages: run.board.list(),
  remedies: [...run.remedies.notes],
});

/** How long a closing run waits for its copies in Postgres; they are copies, so it closes without them. */
const BOOKS_LIMIT_MS = 60_000;
