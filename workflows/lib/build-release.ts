import { CancellationScope, condition, log, sleep } from '@temporalio/workflow';
import type { Json } from '../../contract/json.ts';
import type { PodJobStage } from '../../contract/stage-names.ts';
import type {
  AblateOutput,
  PodPlan,
  PublishOutput,
  QuantizeOutput,
  ReadyPod,
  StageOutputs,
  VerifyOutput,
} from '../../contract/stages.ts';
import { toMs } from '../../domain/duration.ts';
import { mayThink } from '../../domain/worker-env.ts';
import { preparePublish, restoreCheckpoint, saveCheckpoint, tagRelease, verifyUpload } from '../activity-proxies.ts';
import { failure, hasType } from './failures.ts';
import { whileBusy } from './idle.ts';
import { jobFailureIn } from './remedies.ts';
import type { Run } from './run.ts';
import { runJob } from './run-job.ts';
import { withPod, type HeldPod } from './with-pod.ts';

/**
 * Everything that needs a pod, from the base model to a published release: on one pod, or on several in turn. A lost pod,
 * an extended budget or a person's word continues on a new one without repeating the ablation: journal and adapter come
 * back from the checkpoint. Which pod comes next is asked each time, for a person may have continued with another plan.
 */
export async function buildRelease(run: Run): Promise<void> {
  for (;;) {
    // The money may have been spent by the very end of the last pod.
    if (run.budget.reached()) await run.extensionOrEnd();
    const part = run.remedies.fitting(nextPart(run));
    run.onPod.clear();
    run.attention.clear();
    try {
      const end = await withPod(
        run,
        part,
        (pod) => attendedOnPod(run, pod, () => podStages(run, part, pod.ready)),
        (pod) => windDown(run, pod),
      );
      if (end.kind === 'done') {
        run.windingDown = false;
        if (end.value === 'built' || !run.wants('merge')) return;
        run.lostPods = 0;
        continue;
      }
    } catch (error) {
      if (hasType(error, 'CleanupIncomplete')) throw error;
      const waiting = run.attention.pending();
      const lost = hasType(error, 'PodGone', 'PodNotReady');
      // One that vanishes while a person is waited for is not replaced before that person says so.
      if (lost && !waiting && run.mayReplacePod()) {
        run.lostPods++;
        log.warn('the pod is gone; continuing on another', { lostPods: run.lostPods });
        run.remedies.moved(error);
        continue;
      }
      if (await run.attention.answered()) continue;
      throw waiting?.error ?? jobFailureIn(error) ?? error;
    }
    const waiting = run.attention.pending();
    // A pod that was kept for a person is given back when the money says so; nobody has to extend a failed run.
    if (waiting) throw waiting.error;
    await run.extensionOrEnd();
    run.windingDown = false;
  }
}

/** A pod that only ablates: its adapter is what the next one works with. */
const handsOn = ({ stages }: PodPlan): boolean => !stages.includes('merge');

/** The pod that does what is still to be done. Asked each time: a person may have continued with another plan. */
function nextPart(run: Run): PodPlan {
  const part = run.requirePlan().pods.find((pod) => !handsOn(pod) || run.outputs.ablate === undefined);
  if (!part) throw failure('InvalidSpec', 'the plan rents no pod for what is still to be done');
  return part;
}

/**
 * Keeps the pod for a person when a stage fails, parked as the spec says: until `idleStopAfter` as it is, then held,
 * stopped or given back. `continueRun` goes on with what lies on it.
 */
async function attendedOnPod<T>(run: Run, pod: HeldPod, stages: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await whileBusy(run, stages);
    } catch (error) {
      if (!run.attention.raise(error)) throw error;
      const { park, idleStopAfter } = run.requirePlan().spec.budget;
      // One that was idle already is parked at once.
      const asItIsMs = park === 'hold' ? Infinity : hasType(error, 'PodIdle') ? 0 : toMs(idleStopAfter);
      if (await answeredWhileHeld(run, asItIsMs)) continue;
      if (park !== 'stop') throw error;
      await pod.stop();
      if (!(await run.attention.answered())) throw error;
      await pod.start();
      // Only the volume has survived: what prepare set up beside it is made again.
      run.onPod.delete('prepare');
    }
  }
}

/** Waits for a person while the pod runs: it is spoken to now and then, or its dead-man switch would end it. */
async function answeredWhileHeld(run: Run, limitMs: number): Promise<boolean> {
  const { leaseMs } = run.requirePlan().settings;
  const untilMs = Date.now() + Math.min(limitMs, run.attention.leftMs());
  for (;;) {
    if (await run.attention.answered(Math.min(untilMs - Date.now(), leaseMs / 2))) return true;
    if (Date.now() >= untilMs) return false;
    run.deadline.moveSoon();
  }
}

/**
 * Each stage that is wanted and whose files are not on this pod already. `handedOn`: what is left is for another pod of
 * the plan, be it that this one only ablates, or that an ablation is asked for which it was not rented for.
 */
async function podStages(run: Run, part: PodPlan, pod: ReadyPod): Promise<'built' | 'handedOn'> {
  await onPod(
    run,
    part,
    'prepare',
    () => prepare(run, part, pod),
    ({ totalBytes }) => `${(totalBytes / 1e9).toFixed(3)} GB`,
  );
  if (run.wants('ablate') && (await ablate(run, part, pod)) === 'elsewhere') return 'handedOn';
  if (handsOn(part)) return 'handedOn';
  await onPod(
    run,
    part,
    'merge',
    () => merge(run, pod),
    ({ changedTensors }) => `${changedTensors} tensors changed`,
  );
  await onPod(
    run,
    part,
    'quantize',
    () => quantize(run, pod),
    ({ format }) => format,
  );
  await onPod(
    run,
    part,
    'verify',
    () => verify(run, pod),
    ({ kl }) => (kl === null ? '' : `KL ${kl.toPrecision(3)}`),
  );
  await onPod(
    run,
    part,
    'publish',
    () => publish(run, pod),
    ({ commit }) => commit.slice(0, 12),
  );
  return 'built';
}

async function onPod<S extends PodJobStage>(
  run: Run,
  part: PodPlan,
  stage: S,
  work: () => Promise<StageOutputs[S]>,
  note: (output: StageOutputs[S]) => string,
): Promise<void> {
  if (run.onPod.has(stage) || !run.wants(stage)) return;
  await run.stage(stage, () => run.remedies.around(stage, part, work), note);
  run.onPod.add(stage);
}

const prepare = (run: Run, part: PodPlan, pod: ReadyPod): Promise<StageOutputs['prepare']> => {
  const { base, spec } = run.requirePlan();
  const ablated = part.stages.includes('ablate');
  const quantized = part.stages.includes('quantize');
  const { diskBytes, hostMemoryGb } = part.needs;
  const needs = { diskBytes, hostMemoryBytes: hostMemoryGb * 1e9 };
  const params = {
    ...{ baseRepo: base.repo, baseCommit: base.commit, needs, ablated },
    ...(ablated ? { precision: spec.ablate?.precision } : {}),
    ...(spec.ablate ? { prompts: spec.ablate.prompts } : {}),
    ...(quantized
      ? { quantize: { method: spec.quantize.method, groupSize: spec.quantize.groupSize } }
      : { quantize: { method: 'none' } }),
    ...(quantized ? { calibration: spec.quantize.calibration } : {}),
    // What verify will need is looked at before the hours of the ablation, not after them.
    server: part.stages.includes('verify') && spec.serve?.checkOnPod === true,
  };
  return runJob(run, pod, { stage: 'prepare', params: params as unknown as Json, needsHubToken: 'read' });
};

/**
 * Ablates, or puts a finished ablation's adapter onto this pod. An unfinished one continues at its next trial. `elsewhere`:
 * this pod was not chosen for it.
 */
async function ablate(run: Run, part: PodPlan, pod: ReadyPod): Promise<'here' | 'elsewhere'> {
  const { checkpoint } = run.given;
  if (run.onPod.has('ablate')) return 'here';
  // A first pod has nothing of its own to continue from.
  if (run.podAttempts > 1 || checkpoint) {
    const { restored } = await restoreCheckpoint({ run: run.ref, pod, stage: 'ablate', given: checkpoint ?? null });
    if (restored && run.outputs.ablate) return 'here';
  }
  if (!part.stages.includes('ablate')) {
    // Without its adapter an output is worth nothing: the plan's search begins again where it belongs.
    Reflect.deleteProperty(run.outputs, 'ablate');
    return 'elsewhere';
  }
  await run.stage(
    'ablate',
    async () => {
      const output = await run.remedies.around('ablate', part, () =>
        runJob(run, pod, { stage: 'ablate', params: ablateParams(run, part), needsHubToken: 'none' }),
      );
      // The adapter leaves the pod before the stage counts: from here on no lost pod repeats the ablation.
      await saveCheckpoint({ run: run.ref, pod, stage: 'ablate' });
      return output;
    },
    ({ chosen, trialsCompleted }) => `trial ${chosen.index} of ${trialsCompleted}, KL ${chosen.kl.toPrecision(3)}`,
  );
  run.onPod.add('ablate');
  return 'here';
}

const ablateParams = (run: Run, part: PodPlan): Json => {
  const { ablate } = run.requirePlan().spec;
  return { ...ablate, maxBatchSize: run.remedies.maxBatchSize(part) };
};

const merge = (run: Run, pod: ReadyPod): Promise<StageOutputs['merge']> =>
  runJob(run, pod, {
    stage: 'merge',
    params: {
      ablated: run.requirePlan().spec.ablate !== undefined,
      adapterDigest: run.outputs.ablate?.adapterDigest ?? null,
    },
    needsHubToken: 'none',
  });

const quantize = (run: Run, pod: ReadyPod): Promise<QuantizeOutput> => {
  const { method, groupSize, calibration } = run.requirePlan().spec.quantize;
  return runJob(run, pod, { stage: 'quantize', params: { method, groupSize, calibration }, needsHubToken: 'none' });
};

const verify = (run: Run, pod: ReadyPod): Promise<VerifyOutput> => {
  const { spec, serving } = run.requirePlan();
  const { prompts, maxTokens } = spec.smoke;
  const server =
    serving && spec.serve?.checkOnPod ? { maxModelLen: serving.maxModelLen, memoryGb: serving.usableGb } : null;
  // What is recorded here is asked of the endpoint: both have to speak in the same manner.
  const answersNeeded = spec.serve !== undefined;
  const params = { prompts, maxTokens, server, thinking: mayThink(spec), answersNeeded };
  return runJob(run, pod, { stage: 'verify', params, needsHubToken: 'none' });
};

/** Release branch, check from outside, `main`, check again, tag: `main` never holds what was not verified. */
async function publish(run: Run, pod: ReadyPod): Promise<PublishOutput> {
  const plan = run.requirePlan();
  const quantized = run.output('quantize');
  const verified = run.output('verify');
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
