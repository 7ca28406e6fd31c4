import { CancellationScope, isCancellation, workflowInfo } from '@temporalio/workflow';
import type { Json } from '../contract/json.ts';
import type {
  PipelineInput,
  PipelineResult,
  Plan,
  PublishOutput,
  SmokeOutput,
  VerifyOutput,
} from '../contract/stages.ts';
import { reserveFor } from '../domain/budget.ts';
import { fromUsd } from '../domain/money.ts';
import { planRun, registerModel, releaseEndpoints } from './activity-proxies.ts';
import type { DeployReleaseResult } from './deploy-release.ts';
import { buildRelease } from './lib/build-release.ts';
import { failure, toRunFailure } from './lib/failures.ts';
import { Run } from './lib/run.ts';
import { startDeploy } from './lib/start-deploy.ts';
import { servingRate } from '../domain/serving-bound.ts';

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
    run.acceptPlan(plan);
    await run.approval('provision');

    const published = run.take('publish');
    const verified = run.take('verify');
    if (!published || !verified) await buildRelease(run);
    if (!plan.spec.serve) return;

    await run.approval('deploy');
    const release = published ?? required(run.outputs.publish, 'publish');
    const proof = verified ?? required(run.outputs.verify, 'verify');
    const live = await deploy(run, plan, release, proof);
    await register(run, plan, release, live);
  });
}

/** Handlers exist before the first await, so that no early message is lost. The money is read leniently: plan parses. */
function openRun({ spec, outputs }: PipelineInput): Run {
  const raw = (spec ?? {}) as { name?: unknown; budget?: { capUsd?: unknown; warnAt?: unknown } };
  const number = (value: unknown, otherwise: number): number => (typeof value === 'number' ? value : otherwise);
  const name = typeof raw.name === 'string' ? raw.name : workflowInfo().workflowId;
  return new Run(name, fromUsd(number(raw.budget?.capUsd, 0)), number(raw.budget?.warnAt, 0.8), outputs ?? {});
}

function planThis({ spec }: PipelineInput): Promise<Plan> {
  const { workflowId, runId, runStartTime } = workflowInfo();
  return planRun({ spec, workflowId, runId, startedAtMs: runStartTime.getTime() });
}

/** The child owns the model's endpoints. A deployment of the same model that is under way is waited for. */
async function deploy(
  run: Run,
  plan: Plan,
  { repo, commit }: PublishOutput,
  { answers }: VerifyOutput,
): Promise<DeployReleaseResult> {
  const rate = servingRate(plan);
  const meter = `serving/${plan.release}`;
  run.budget.setReserve(
    reserveFor(rate, { checkpointLimitMs: 0, terminateAllowanceMs: plan.settings.terminateAllowanceMs }),
  );
  const input = { run: run.ref, plan, repo, commit, answers, lifetimeMs: run.deadline.atMs(rate) - Date.now() };
  try {
    const end = await run.budget.race(
      () => startDeploy(plan.spec.name, input, () => run.startMeter(meter, rate)),
      () => Promise.resolve(),
    );
    if (end.kind === 'budgetReached') {
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
    run.stopMeter(meter);
  }
}

async function register(run: Run, plan: Plan, release: PublishOutput, live: DeployReleaseResult): Promise<void> {
  if (!plan.spec.register.enabled) {
    run.board.skip('register', 'not asked for');
    return;
  }
  const { deploy: deployed, smoke, created } = live;
  try {
    await run.stage(
      'register',
      () => registerModel(registration(run, plan, release, live, smoke)),
      ({ modelId }) => modelId,
    );
  } catch (error) {
    // A failed registration never undoes a working endpoint; a person who cancels does not want a new one.
    if (isCancellation(error) && created) {
      const { endpointName, endpointId } = deployed;
      const names = { endpointNames: [endpointName], templateNames: [], knownIds: [endpointId] };
      await CancellationScope.nonCancellable(() => releaseEndpoints({ run: run.ref, ...names }));
    }
    throw error;
  }
}

const registration = (
  run: Run,
  plan: Plan,
  { repo, commit }: PublishOutput,
  { deploy: deployed }: DeployReleaseResult,
  smoke: SmokeOutput,
): Parameters<typeof registerModel>[0] => ({
  run: run.ref,
  plan,
  deploy: deployed,
  publish: { repo, commit },
  smoke,
  spent: run.budget.spent(),
  evaluation: { ablate: run.outputs.ablate ?? null, kl: run.outputs.verify?.kl ?? null } as unknown as Json,
});

/** Ends the run: the result or the failure people should see, and a last row in the ledger. */
async function closing(run: Run, story: () => Promise<void>): Promise<PipelineResult> {
  try {
    await story();
    await run.closeBooks('Completed', BOOKS_LIMIT_MS);
    return result(run);
  } catch (error) {
    await run.closeBooks(isCancellation(error) ? 'Cancelled' : 'Failed', BOOKS_LIMIT_MS);
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
});

/** How long a closing run waits for its copies in Postgres; they are copies, so it closes without them. */
const BOOKS_LIMIT_MS = 60_000;

function required<T>(value: T | undefined, stage: string): T {
  if (value === undefined)
    throw failure('InvalidSpec', `serving needs the output of ${stage}, which this run does not make`);
  return value;
}
