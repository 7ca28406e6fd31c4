import { expect, test } from '@jest/globals';
import { activityInfo } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import type { Activities } from '../../contract/activities.ts';
import type { PipelineSpec } from '../../contract/spec.ts';
import type { PipelineInput, Plan, PodPlan } from '../../contract/stages.ts';
import { fromUsd } from '../../domain/money.ts';
import { continueRunUpdate, extendBudgetUpdate, getProgressQuery } from '../../workflows/messages.ts';
import { recordRun } from '../replay/record-run.ts';
import { fakeActivities, hang, JOB_RESULTS } from '../support/fake-activities.ts';
import { aPlan, aSpec } from '../support/specs.ts';
import { endOf, withPipeline, workflowTests, type PipelineHandle } from '../support/time-skipping.ts';

/** A model that one pod ablates and another quantizes: what is rented when, and what travels between the two. */

const tests = workflowTests();

const SPEC = aSpec({ serve: undefined });

function split(): Plan {
  const plan = aPlan(SPEC);
  const [whole] = plan.pods as [PodPlan];
  const rung = whole.ladder[0]!;
  return {
    ...plan,
    pods: [
      { ...whole, stages: ['prepare', 'ablate'] },
      {
        ...whole,
        stages: ['prepare', 'merge', 'quantize', 'verify', 'publish'],
        needs: { ...whole.needs, hostMemoryGb: 152 },
        ladder: [{ ...rung, gpuTypeId: 'NVIDIA H200', pricePerHour: fromUsd(7.2) }],
      },
    ],
  };
}

interface Seen {
  /** Stages by the pod that did them. */
  jobs: string[];
  asked: { gpu: string; hostMemoryGb: number; podsThere: number }[];
  restored: string[];
}

/** Runs a split plan and says which pod did what. */
async function run(
  changes: Partial<Activities> = {},
  input: Partial<PipelineInput> = {},
  end: (handle: PipelineHandle) => Promise<string> = endOf,
): Promise<Seen & { end: string }> {
  const seen: Seen = { jobs: [], asked: [], restored: [] };
  const base = fakeActivities(tests.world, {
    planRun: () => Promise.resolve(split()),
    createPod: ({ podName, plan: { ladder, needs } }) => {
      seen.asked.push({
        gpu: ladder[0]!.gpuTypeId,
        hostMemoryGb: needs.hostMemoryGb,
        podsThere: tests.world.pods.size,
      });
      return Promise.resolve({ kind: 'created', lease: tests.world.createPod(podName) });
    },
    startJob: ({ stage, pod }) => {
      seen.jobs.push(`${pod.podId} ${stage}`);
      return Promise.resolve({ state: 'started', attempt: 1 });
    },
    restoreCheckpoint: ({ pod }) => {
      seen.restored.push(pod.podId);
      return Promise.resolve({ restored: tests.world.checkpointed });
    },
    ...changes,
  });
  const ended = await withPipeline(tests.env, base, { spec: SPEC, ...input }, end);
  expect(tests.world.pods.size).toBe(0);
  return { ...seen, end: ended };
}

const FIRST = ['pod-1 prepare', 'pod-1 ablate'];
const SECOND = ['prepare', 'merge', 'quantize', 'verify', 'publish', 'publish'];

test('the first pod ablates and goes; the second brings the adapter back and does the rest', async () => {
  const { jobs, asked, restored, end } = await run({}, {}, async (handle) => {
    const ended = await endOf(handle);
    await recordRun('two-pods', handle);
    return ended;
  });
  expect(end).toBe('Completed');
  expect(jobs).toEqual([...FIRST, ...SECOND.map((stage) => `pod-2 ${stage}`)]);
  expect(asked).toEqual([
    { gpu: 'NVIDIA H100 80GB HBM3', hostMemoryGb: 3, podsThere: 0 },
    { gpu: 'NVIDIA H200', hostMemoryGb: 152, podsThere: 0 },
  ]);
  expect(restored).toEqual(['pod-2']);
});

test('--until ablate rents the first only', async () => {
  const { jobs, end } = await run({}, { until: 'ablate' });
  expect(end).toBe('Completed');
  expect(jobs).toEqual(FIRST);
});

test('an ablation that is given needs no first pod', async () => {
  const checkpoint = { runId: 'earlier', sha256: 's' };
  tests.world.checkpointed = true;
  const { jobs, asked } = await run({}, { outputs: { ablate: JOB_RESULTS.ablate, checkpoint } });
  expect(asked.map(({ gpu }) => gpu)).toEqual(['NVIDIA H200']);
  expect(jobs).toEqual(SECOND.map((stage) => `pod-1 ${stage}`));
});

test('a lost second pod is replaced by another second one; the ablation is not repeated', async () => {
  let lost = false;
  const { jobs, asked, end } = await run({
    followJob: ({ stage }) => {
      if (stage !== 'quantize' || lost) return Promise.resolve({ kind: 'succeeded', result: JOB_RESULTS[stage] });
      lost = true;
      return Promise.resolve({ kind: 'podGone', reason: 'taken away' });
    },
  });
  expect(end).toBe('Completed');
  expect(asked.map(({ gpu }) => gpu)).toEqual(['NVIDIA H100 80GB HBM3', 'NVIDIA H200', 'NVIDIA H200']);
  expect(jobs.filter((job) => job.endsWith('ablate'))).toEqual(['pod-1 ablate']);
});

test('a lost first pod is replaced by another first one, which goes on with the trials there are', async () => {
  let lost = false;
  const { asked, restored, end } = await run({
    followJob: ({ stage }) => {
      if (stage !== 'ablate' || lost) return Promise.resolve({ kind: 'succeeded', result: JOB_RESULTS[stage] });
      lost = true;
      return Promise.resolve({ kind: 'podGone', reason: 'taken away' });
    },
  });
  expect(end).toBe('Completed');
  expect(asked.map(({ gpu }) => gpu)).toEqual(['NVIDIA H100 80GB HBM3', 'NVIDIA H100 80GB HBM3', 'NVIDIA H200']);
  expect(restored).toEqual(['pod-2', 'pod-3']);
});

test('a second pod that cannot be had ends the run with the ablation kept', async () => {
  let creates = 0;
  const { end } = await run({
    createPod: ({ podName }) =>
      Promise.resolve(
        ++creates === 1
          ? { kind: 'created', lease: tests.world.createPod(podName) }
          : { kind: 'noCapacity', tried: ['NVIDIA H200 (SECURE): no stock'] },
      ),
  });
  expect(end).toBe('NoGpuCapacity');
  expect(tests.world.checkpointed).toBe(true);
});

test('a pod that comes without what was asked for counts as lost, three times at most', async () => {
  const tooSmall = (): Promise<never> => Promise.reject(ApplicationFailure.nonRetryable('94 GB', 'PodNotReady'));
  const { asked, end } = await run({ waitForPod: tooSmall });
  expect(end).toBe('PodNotReady');
  expect(asked).toHaveLength(3);
});

test('an ablation that ends with the money does not rent the second pod before somebody extends', async () => {
  const order: string[] = [];
  const saves: number[] = [];
  // As in model-pipeline: with an activity in flight the clock is real, and this cap is reached after about five seconds.
  const SHORT = { checkpointLimitMs: 4_000, terminateAllowanceMs: 1_000 };
  const { end } = await run(
    {
      planRun: ({ spec }) => {
        const plan = split();
        return Promise.resolve({ ...plan, spec: spec as PipelineSpec, settings: { ...plan.settings, ...SHORT } });
      },
      followJob: async ({ stage }) => {
        // Long enough to reach the stop; the job ends by itself just then.
        if (stage === 'ablate') await hang(() => tests.world.stopped.size > 0);
        return { kind: 'succeeded', result: JOB_RESULTS[stage] };
      },
      saveCheckpoint: async () => {
        // Two copies under way at once, of which the stage's own was asked for first: only that one's end counts the stage.
        saves.push(Number(activityInfo().activityId));
        await hang(() => saves.length === 2);
        if (Number(activityInfo().activityId) === Math.max(...saves)) await new Promise((end) => setTimeout(end, 500));
        tests.world.checkpointed = true;
        return { bytes: 10, sha256: 's' };
      },
      createPod: ({ podName, plan: { ladder } }) => {
        order.push(`create ${ladder[0]!.gpuTypeId}`);
        return Promise.resolve({ kind: 'created', lease: tests.world.createPod(podName) });
      },
    },
    { spec: aSpec({ serve: undefined, budget: { capUsd: 0.011, grace: '1h' } }) },
    async (handle) => {
      await waitsFor(handle, 'extendBudget');
      order.push('extended');
      await handle.executeUpdate(extendBudgetUpdate, { args: [20] });
      return endOf(handle);
    },
  );
  expect(order).toEqual(['create NVIDIA H100 80GB HBM3', 'extended', 'create NVIDIA H200']);
  expect(end).toBe('Completed');
});

test('an ablation that a person changes while the second pod is held is made again on a first one', async () => {
  const spec = aSpec({ serve: undefined, budget: { capUsd: 30, onFailure: { keep: '2h' }, park: 'hold' } });
  let failed = false;
  const { jobs, end } = await run(
    {
      planRun: ({ spec: given }) => Promise.resolve({ ...split(), spec: given as PipelineSpec }),
      followJob: ({ stage }) => {
        if (stage !== 'quantize' || failed) return Promise.resolve({ kind: 'succeeded', result: JOB_RESULTS[stage] });
        failed = true;
        const failure = { class: 'KlTooLarge', message: 'too far', advice: '', repeat: 'person' as const };
        return Promise.resolve({ kind: 'failed', failure });
      },
      restoreCheckpoint: () => Promise.resolve({ restored: true }),
    },
    { spec },
    async (handle) => {
      await waitsFor(handle, 'continueRun');
      await handle.executeUpdate(continueRunUpdate, { args: [{ 'ablate.maxKl': 0.2 }] });
      return endOf(handle);
    },
  );
  expect(end).toBe('Completed');
  expect(jobs.filter((job) => job.endsWith('ablate'))).toEqual(['pod-1 ablate', 'pod-3 ablate']);
  expect(jobs.filter((job) => job.endsWith('quantize'))).toEqual(['pod-2 quantize', 'pod-4 quantize']);
});

/** Until the run says that it waits for a person. */
async function waitsFor(handle: PipelineHandle, what: string): Promise<void> {
  for (;;) {
    const { waitingFor } = await handle.query(getProgressQuery);
    if (waitingFor?.startsWith(what)) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
