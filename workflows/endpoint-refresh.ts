import { log, patched, workflowInfo } from '@temporalio/workflow';
import type { Json } from '../contract/json.ts';
import type { LiveRelease, RefreshResult } from '../contract/refresh.ts';
import { releaseLabel } from '../contract/names.ts';
import type { DeployOutput, Plan, RegisterOutput, SmokeOutput } from '../contract/stages.ts';
import { toMs } from '../domain/duration.ts';
import { servingRate } from '../domain/serving-bound.ts';
import { describeDeployment, findLiveRelease, registerModel, smokeEndpoint, warmEndpoint } from './activity-proxies.ts';
import { failure, toRunFailure } from './lib/failures.ts';
import { startDeploy } from './lib/start-deploy.ts';

/**
 * The nightly look at a registered model. The published commit is unchanged and its endpoint answers as recorded: nothing
 * else is done, but that a row which names another endpoint is mended. Otherwise the release is deployed again, candidate
 * first, and registered again. A commit that this installation has not verified is never deployed.
 */
export async function endpointRefresh({ name }: { name: string }): Promise<RefreshResult> {
  try {
    const live = await verifiedHead(name);
    if (!live.endpointExists) return await redeploy(name, live);
    const smoke = await answersAsRecorded(live);
    // Meanwhile a run may have published and be deploying; its release must not be put back.
    if (!smoke) return await redeploy(name, patched(LOOKS_AGAIN) ? await verifiedHead(name) : live);
    const register = live.rowIsStale ? await registerWhatIsThere(live, smoke) : null;
    return { name, action: 'checked', commit: live.publish.commit, register };
  } catch (error) {
    throw toRunFailure(error);
  }
}

const LOOKS_AGAIN = 'refresh-looks-again';

/** The release on `main`, which a completed run of this installation has made. */
async function verifiedHead(name: string): Promise<LiveRelease> {
  const live = await findLiveRelease({ name });
  if (!live) throw failure('InvalidSpec', `no completed run of "${name}" with an endpoint is recorded`);
  const { headCommit, publish } = live;
  if (headCommit === publish.commit) return live;
  throw failure(
    'ManifestMismatch',
    `main of ${publish.repo} is ${headCommit?.slice(0, 12) ?? 'nothing'}, which no completed run has verified; start a run instead`,
  );
}

/**
 * Its smoke test, or null: an endpoint that does not warm up or answers otherwise is not a fault of this workflow, but the
 * reason to deploy again.
 */
async function answersAsRecorded({ deploy, plan, verify }: LiveRelease): Promise<SmokeOutput | null> {
  try {
    const deadlineMs = toMs(plan.spec.serve?.warmupDeadline ?? '45m');
    const { endpointId } = deploy;
    await warmEndpoint({ endpointId, deadlineMs, servedModelName: plan.serving?.servedModelName ?? '' });
    const { kind, output } = await smokeEndpoint({ endpointId, plan, answers: verify.answers });
    return kind === 'passed' ? output : null;
  } catch (error) {
    const reason = toRunFailure(error);
    log.warn('the endpoint does not hold; deploying its release again', { reason: String(reason) });
    return null;
  }
}

/** A refresh that deployed, and then could not register, has left a row that leads nowhere. */
async function registerWhatIsThere(live: LiveRelease, smoke: SmokeOutput): Promise<RegisterOutput> {
  const deploy = await describeDeployment({ endpoint: live.deploy, plan: live.plan });
  return registerModel(registration(live, deploy, smoke));
}

async function redeploy(name: string, live: LiveRelease): Promise<RefreshResult> {
  const { publish, verify, run } = live;
  // A label of its own: names of rented things must not collide with those of the run that made the release.
  const { runId, workflowId, runStartTime } = workflowInfo();
  const plan: Plan = { ...live.plan, release: releaseLabel(runStartTime.getTime()) };
  const bound = toMs(plan.spec.serve?.warmupDeadline ?? '45m') * 2 + plan.settings.cleanupBoundMs;
  log.info('deploying again', { name, commit: publish.commit, ratePerHour: servingRate(plan) });
  const { deploy, smoke } = await startDeploy(name, {
    run: { ...run, runId, workflowId, release: plan.release },
    plan,
    repo: publish.repo,
    commit: publish.commit,
    answers: verify.answers,
    lifetimeMs: bound,
  });
  const register = plan.spec.register.enabled ? await registerModel(registration(live, deploy, smoke)) : null;
  return { name, action: 'redeployed', commit: publish.commit, register };
}

/** The row goes on saying which run made the release, what that cost and what was measured; only the endpoint is another. */
function registration(
  { run, plan, publish: { repo, commit }, ablate, verify, spent }: LiveRelease,
  deploy: DeployOutput,
  smoke: SmokeOutput,
): Parameters<typeof registerModel>[0] {
  const evaluation = { ablate, kl: verify.kl } as unknown as Json;
  return { run, plan, deploy, publish: { repo, commit }, smoke, spent, evaluation };
}
