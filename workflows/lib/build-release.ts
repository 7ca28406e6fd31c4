import { CancellationScope, condition, log, sleep } from '@temporalio/workflow';
import type { Json } from '../../contract/json.ts';
import type {
  AblateOutput,
  PublishOutput,
  QuantizeOutput,
  ReadyPod,
  StageOutputs,
  VerifyOutput,
} from '../../contract/stages.ts';
import { preparePublish, restoreCheckpoint, saveCheckpoint, tagRelease, verifyUpload } from '../activity-proxies.ts';
import { hasType } from './failures.ts';
import type { Run } from './run.ts';
import { runJob } from './run-job.ts';
import { withPod } from './with-pod.ts';

/** A run does not chase pods for ever: after this many were lost it fails. */
const MAX_LOST_PODS = 3;

/**
 * Everything that needs a pod, from the base model to a published release. A lost pod or an extended budget continues on
 * a new one without repeating the ablation: journal and adapter come back from the checkpoint.
 */
export async function buildRelease(run: Run): Promise<void> {
  for (let lostPods = 0; ;) {
    try {
      const end = await withPod(
        run,
        (pod) => podStages(run, pod),
        (pod) => windDown(run, pod),
      );
      if (end.kind === 'done') return;
    } catch (error) {
      if (!hasType(error, 'PodGone', 'PodNotReady') || ++lostPods >= MAX_LOST_PODS || run.budget.reached()) throw error;
      log.warn('the pod is gone; continuing on another', { lostPods });
      continue;
    }
    await run.extensionOrEnd();
    run.windingDown = false;
  }
}

async function podStages(run: Run, pod: ReadyPod): Promise<void> {
  const { spec } = run.requirePlan();
  await run.stage(
    'prepare',
    () => prepare(run, pod),
    ({ totalBytes }) => `${(totalBytes / 1e9).toFixed(3)} GB`,
  );
  if (spec.ablate) await ablate(run, pod);
  else run.board.skip('ablate', 'not asked for');
  await run.stage(
    'merge',
    () => merge(run, pod),
    ({ changedTensors }) => `${changedTensors} tensors changed`,
  );
  const quantized = await run.stage(
    'quantize',
    () => quantize(run, pod),
    ({ format }) => format,
  );
  const verified = await run.stage(
    'verify',
    () => verify(run, pod),
    ({ kl }) => (kl === null ? '' : `KL ${kl.toPrecision(3)}`),
  );
  if (!spec.publish) {
    run.board.skip('publish', 'not asked for');
    return;
  }
  await run.stage(
    'publish',
    () => publish(run, pod, quantized, verified),
    ({ commit }) => commit.slice(0, 12),
  );
}

const prepare = (run: Run, pod: ReadyPod): Promise<StageOutputs['prepare']> => {
  const { base } = run.requirePlan();
  // Base, merged copy and quantized copy lie on the volume together: 2.37 times the base at most.
  const needs = { diskBytes: Math.ceil(base.totalBytes * 2.5) };
  const params = { baseRepo: base.repo, baseCommit: base.commit, needs };
  return runJob(run, pod, { stage: 'prepare', params, needsHubToken: 'read' });
};

/** Ablates, or puts a finished ablation's adapter onto this pod. An unfinished one continues at its next trial. */
async function ablate(run: Run, pod: ReadyPod): Promise<void> {
  // A first pod has nothing to continue from.
  const { restored } =
    run.podAttempts > 1 ? await restoreCheckpoint({ run: run.ref, pod, stage: 'ablate' }) : { restored: false };
  if (restored && run.outputs.ablate) return;
  const { trials, seed, maxKl, prompts, minTrialSeconds } = run.requirePlan().spec.ablate ?? {};
  const params = { trials, seed, maxKl, prompts, minTrialSeconds } as unknown as Json;
  await run.stage(
    'ablate',
    () => runJob(run, pod, { stage: 'ablate', params, needsHubToken: 'none' }),
    ({ chosen, trialsCompleted }) => `trial ${chosen.index} of ${trialsCompleted}, KL ${chosen.kl.toPrecision(3)}`,
  );
  // The adapter leaves the pod at once: from here on no lost pod repeats the ablation.
  await saveCheckpoint({ run: run.ref, pod, stage: 'ablate' });
}

const merge = (run: Run, pod: ReadyPod): Promise<StageOutputs['merge']> =>
  runJob(run, pod, {
    stage: 'merge',
    params: { ablated: run.requirePlan().spec.ablate !== undefined },
    needsHubToken: 'none',
  });

const quantize = (run: Run, pod: ReadyPod): Promise<QuantizeOutput> => {
  const { method, groupSize } = run.requirePlan().spec.quantize;
  return runJob(run, pod, { stage: 'quantize', params: { method, groupSize }, needsHubToken: 'none' });
};

const verify = (run: Run, pod: ReadyPod): Promise<VerifyOutput> => {
  const { prompts, maxTokens } = run.requirePlan().spec.smoke;
  return runJob(run, pod, { stage: 'verify', params: { prompts, maxTokens }, needsHubToken: 'none' });
};

/** Release branch, check from outside, `main`, check again, tag: `main` never holds what was not verified. */
async function publish(
  run: Run,
  pod: ReadyPod,
  quantized: QuantizeOutput,
  verified: VerifyOutput,
): Promise<PublishOutput> {
  const plan = run.requirePlan();
  const repo = plan.spec.publish?.repo ?? '';
  const facts = { ablate: run.outputs.ablate ?? null, quantize: quantized } satisfies {
    ablate: AblateOutput | null;
    quantize: QuantizeOutput;
  };
  const { branch, card, manifest } = await preparePublish({
    run: run.ref,
    plan,
    verify: verified,
    facts: facts as unknown as Json,
  });
  const upload = async (suffix: string, revision: string): Promise<string> => {
    const params = { repo, revision, card, manifest, message: `Release ${plan.release}`, deleteOthers: true };
    const job = {
      stage: 'publish' as const,
      suffix,
      params: params as unknown as Json,
      needsHubToken: 'write' as const,
    };
    const { commit } = await runJob(run, pod, job);
    await verifyUpload({ repo, commit, manifest });
    return commit;
  };
  await upload('branch', branch);
  const commit = await upload('main', 'main');
  const { tag } = await tagRelease({ repo, commit, release: plan.release, branch });
  const bytes = manifest.files.reduce((sum, file) => sum + file.size, 0);
  return { repo, commit, tag, files: manifest.files.length, bytes };
}

/** At the budget's moment: the job checkpoints, what it has leaves the pod, then the pod is given back. */
async function windDown(run: Run, pod: ReadyPod | null): Promise<void> {
  run.windingDown = true;
  const { checkpointLimitMs } = run.requirePlan().settings;
  const job = run.activeJob;
  if (!pod || !job) return;
  const save = async (): Promise<void> => {
    await job.stop();
    await condition(() => run.activeJob === null);
    if (job.stage === 'ablate') await saveCheckpoint({ run: run.ref, pod, stage: 'ablate' });
  };
  const saved = CancellationScope.nonCancellable(save).catch((error: unknown) => {
    log.warn('checkpointing before a budget stop failed', { error: String(error) });
  });
  // The reserve pays for this long and no longer; an unreachable pod is given back all the same.
  const limit = sleep(checkpointLimitMs, { summary: 'checkpoint limit' });
  await CancellationScope.nonCancellable(() => Promise.race([saved, limit]));
}
