import { log, workflowInfo } from '@temporalio/workflow';
import type { LiveRelease, RefreshResult } from '../contract/refresh.ts';
import { releaseLabel } from '../contract/names.ts';
import type { Plan } from '../contract/stages.ts';
import { toMs } from '../domain/duration.ts';
import { ZERO_USD } from '../domain/money.ts';
import { servingRate } from '../domain/serving-bound.ts';
import { findLiveRelease, registerModel, smokeEndpoint, warmEndpoint } from './activity-proxies.ts';
import { failure, toRunFailure } from './lib/failures.ts';
import { startDeploy } from './lib/start-deploy.ts';

/**
 * The nightly look at a registered model. The published commit is unchanged and its endpoint answers as recorded: nothing
 * else is done. Otherwise the release is deployed again, candidate first, and registered again. A commit that this
 * installation has not verified is never deployed.
 */
export async function endpointRefresh({ name }: { name: string }): Promise<RefreshResult> {
  try {
    const live = await findLiveRelease({ name });
    if (!live) throw failure('InvalidSpec', `no completed run of "${name}" with an endpoint is recorded`);
    const { publish } = live;
    if (live.headCommit !== publish.commit) {
      const head = live.headCommit?.slice(0, 12) ?? 'nothing';
      throw failure(
        'ManifestMismatch',
        `main of ${publish.repo} is ${head}, which no run has verified; start a run instead`,
      );
    }
    if (live.endpointExists && (await answersAsRecorded(live))) {
      return { name, action: 'checked', commit: publish.commit, register: null };
    }
    return await redeploy(name, live);
  } catch (error) {
    throw toRunFailure(error);
  }
}

/** An endpoint that does not warm up or answers otherwise is not a fault of this workflow, but the reason to deploy again. */
async function answersAsRecorded({ deploy, plan, verify }: LiveRelease): Promise<boolean> {
  try {
    const deadlineMs = toMs(plan.spec.serve?.warmupDeadline ?? '45m');
    const { endpointId } = deploy;
    await warmEndpoint({ endpointId, deadlineMs, servedModelName: plan.serving?.servedModelName ?? '' });
    const { kind } = await smokeEndpoint({ endpointId, plan, answers: verify.answers });
    return kind === 'passed';
  } catch (error) {
    const reason = toRunFailure(error);
    log.warn('the endpoint does not hold; deploying its release again', { reason: String(reason) });
    return false;
  }
}

async function redeploy(name: string, live: LiveRelease): Promise<RefreshResult> {
  const { publish, verify, run } = live;
  // A label of its own: names of rented things must not collide with those of the run that made the release.
  const { runId, workflowId, runStartTime } = workflowInfo();
  const plan: Plan = { ...live.plan, release: releaseLabel(runStartTime.getTime()) };
  const ref = { ...run, runId, workflowId, release: plan.release };
  const bound = toMs(plan.spec.serve?.warmupDeadline ?? '45m') * 2 + plan.settings.cleanupBoundMs;
  log.info('deploying again', { name, commit: publish.commit, ratePerHour: servingRate(plan) });
  const { deploy, smoke } = await startDeploy(name, {
    run: ref,
    plan,
    repo: publish.repo,
    commit: publish.commit,
    answers: verify.answers,
    lifetimeMs: bound,
  });
  const { repo, commit } = publish;
  const facts = {
    run: ref,
    plan,
    deploy,
    publish: { repo, commit },
    smoke,
    spent: ZERO_USD,
    evaluation: { kl: verify.kl },
  };
  const register = plan.spec.register.enabled ? await registerModel(facts) : null;
  return { name, action: 'redeployed', commit, register };
}
