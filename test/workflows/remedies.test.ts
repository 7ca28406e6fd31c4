import { expect, test } from '@jest/globals';
import { WorkflowFailedError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import type { Activities, FollowOutcome } from '../../contract/activities.ts';
import type { JobFailure } from '../../contract/job-protocol.ts';
import type { PipelineSpec } from '../../contract/spec.ts';
import type { PodJobStage } from '../../contract/stage-names.ts';
import type { PipelineResult, Plan, PodPlan } from '../../contract/stages.ts';
import { continueRunUpdate, getProgressQuery } from '../../workflows/messages.ts';
import { recordRun } from '../replay/record-run.ts';
import { fakeActivities, JOB_RESULTS } from '../support/fake-activities.ts';
import { aPlan, aSpec } from '../support/specs.ts';
import { endOf, withPipeline, workflowTests, type PipelineHandle } from '../support/time-skipping.ts';

/** What a run changes by itself after a failed job, and where it stops doing so. */

const tests = workflowTests();

const SPEC = aSpec({ serve: undefined, quantize: { method: 'awq', groupSize: 128 } });

/** An H100 first, an H200 after it. */
function twoRungs(spec: PipelineSpec): Plan {
  const plan = aPlan(spec);
  const [whole] = plan.pods as [PodPlan];
  const rung = whole.ladder[0]!;
  const ladder = [
    { ...rung, maxBatchSize: 32 },
    { ...rung, gpuTypeId: 'NVIDIA H200', memoryGb: 141, maxBatchSize: 128 },
  ];
  return { ...plan, pods: [{ ...whole, ladder }] };
}

const failed = (change: string | null, repeat?: JobFailure['repeat'], advice = ''): FollowOutcome => ({
  kind: 'failed',
  failure: { class: 'OutOfMemory', message: 'out of memory', advice, change, repeat },
});

interface Seen {
  /** Stage, GPU and the params that remedies change, of every job started. */
  jobs: string[];
  ids: string[];
}

/** Runs with a job of one stage failing as `answers` say, in turn. */
async function run<T>(
  stage: PodJobStage,
  answers: FollowOutcome[],
  end: (handle: PipelineHandle) => Promise<T>,
  { spec = SPEC, ...others }: Partial<Activities> & { spec?: PipelineSpec } = {},
): Promise<Seen & { end: T }> {
  const seen: Seen = { jobs: [], ids: [] };
  const gpus = new Map<string, string>();
  const changes: Partial<Activities> = {
    planRun: () => Promise.resolve(twoRungs(spec)),
    createPod: ({ podName, plan }) => {
      const { gpuTypeId } = plan.ladder[0]!;
      const lease = { ...tests.world.createPod(podName), gpuTypeId };
      gpus.set(lease.podId, gpuTypeId.replace('NVIDIA ', '').slice(0, 4));
      return Promise.resolve({ kind: 'created', lease });
    },
    startJob: ({ stage: started, jobId, pod, params }) => {
      const { maxBatchSize, precision, groupSize } = params as Record<string, string | number | undefined>;
      seen.ids.push(`${pod.podId} ${jobId}`);
      if (started === stage) {
        const told = [gpus.get(pod.podId), maxBatchSize, precision, groupSize].filter((part) => part !== undefined);
        seen.jobs.push(told.join(' '));
      }
      return Promise.resolve({ state: 'started', attempt: 1 });
    },
    followJob: (input) =>
      Promise.resolve(
        (input.stage === stage ? answers.shift() : undefined) ?? {
          kind: 'succeeded',
          result: JOB_RESULTS[input.stage],
        },
      ),
    ...others,
  };
  const ended = await withPipeline(tests.env, fakeActivities(tests.world, changes), { spec }, end);
  expect(tests.world.pods.size).toBe(0);
  expect(new Set(seen.ids).size).toBe(seen.ids.length);
  return { ...seen, end: ended };
}

const resultOf = async (handle: PipelineHandle): Promise<PipelineResult> => handle.result();

test('an ablation out of memory goes on with half the batch, then in 4 bit, and the books say so', async () => {
  const { jobs, end } = await run('ablate', [failed('smallerBatch'), failed('smallerBatch')], async (handle) => {
    const result = await resultOf(handle);
    await recordRun('remedied', handle);
    return result;
  });
  expect(jobs).toEqual(['H100 32 bf16', 'H100 16 bf16', 'H100 32 bnb_4bit']);
  expect(end.remedies).toEqual([
    'ablate: OutOfMemory; batch 32 → 16',
    'ablate: OutOfMemory; precision bf16 → bnb_4bit',
  ]);
  expect(tests.world.books?.spec).toMatchObject({ ablate: { precision: 'bnb_4bit' } });
  expect(end.outputs.provision!.podName).not.toMatch(/-a2$/);
});

test('what no change on this GPU helps continues on a larger one of the ladder, with that one’s batch', async () => {
  const answers = Array.from({ length: 5 }, () => failed('smallerBatch'));
  const { jobs } = await run('ablate', answers.slice(0, 4), resultOf);
  expect(jobs).toEqual(['H100 32 bf16', 'H100 16 bf16', 'H100 32 bnb_4bit', 'H100 16 bnb_4bit', 'H200 128 bnb_4bit']);
});

test('a group size that does not divide is halved until it does', async () => {
  const { jobs } = await run('quantize', [failed('smallerGroup'), failed('smallerGroup')], resultOf);
  expect(jobs).toEqual(['H100 128', 'H100 64', 'H100 32']);
  expect(tests.world.books?.spec).toMatchObject({ quantize: { groupSize: 32 } });
});

test('a context that does not fit on the pod is shortened, and what is deployed is what was proven', async () => {
  const serving = aSpec({ toolchain: 'gpu', serve: { gpus: ['ADA_80_PRO'], checkOnPod: true, maxModelLen: 512 } });
  const asked: unknown[] = [];
  const deployed: (number | undefined)[] = [];
  const tooLong = { class: 'ContextTooLong', message: 'estimated maximum model length is 9000', advice: '' };
  const changes: Partial<Activities> = {
    planRun: () => {
      const plan = aPlan(serving);
      return Promise.resolve({ ...plan, serving: { ...plan.serving!, maxModelLen: 32_768 } });
    },
    startJob: ({ stage, params }) => {
      if (stage === 'verify') asked.push((params as { server: unknown }).server);
      return Promise.resolve({ state: 'started', attempt: 1 });
    },
    followJob: ({ stage }) =>
      Promise.resolve(
        stage === 'verify' && asked.length === 1
          ? { kind: 'failed', failure: { ...tooLong, change: 'shorterContext' } }
          : { kind: 'succeeded', result: JOB_RESULTS[stage] },
      ),
    createEndpoint: ({ endpointName, plan }) => {
      deployed.push(plan.serving?.maxModelLen);
      return Promise.resolve(tests.world.createEndpoint(endpointName));
    },
  };
  const fakes = fakeActivities(tests.world, changes);
  const result = await withPipeline(tests.env, fakes, { spec: serving }, resultOf);
  expect(asked).toEqual([
    { maxModelLen: 32_768, memoryGb: 72 },
    { maxModelLen: 8_192, memoryGb: 72 },
  ]);
  expect(deployed).toEqual([8_192, 8_192]);
  expect(result.remedies).toEqual(['verify: ContextTooLong; context 32768 → 8192 tokens']);
  // A refresh deploys by the plan on record.
  expect(result.outputs.plan!.serving!.maxModelLen).toBe(8_192);
});

test('a host at fault is given back and another one taken', async () => {
  const { jobs, end } = await run('merge', [failed('otherHost')], resultOf);
  expect(jobs).toHaveLength(2);
  expect(end.outputs.provision!.podName).toMatch(/-a2$/);
  expect(end.remedies).toEqual(['merge: OutOfMemory; continued on another pod']);
});

/** With the reason that ended it, and what the run says it has changed. */
async function failureOf(handle: PipelineHandle): Promise<{ failure: ApplicationFailure; remedies: string[] }> {
  const error: unknown = await handle.result().then(
    () => new Error('the run completed'),
    (failed: unknown) => failed,
  );
  if (!(error instanceof WorkflowFailedError) || !(error.cause instanceof ApplicationFailure)) throw error;
  const { remedies } = await handle.query(getProgressQuery);
  return { failure: error.cause, remedies };
}

const CONTINUED = 'merge: OutOfMemory; continued on another pod';

test('a fault that every pod shows ends the run as what it is, not as a pod that is gone', async () => {
  const answers = Array.from({ length: 9 }, () => failed('otherHost', undefined, 'look at the driver'));
  const { jobs, end } = await run('merge', answers, failureOf);
  expect(jobs).toHaveLength(3);
  expect(end.failure).toMatchObject({ type: 'JobFailed', details: [{ advice: 'look at the driver' }] });
  // Only what was really done.
  expect(end.remedies).toEqual([CONTINUED, CONTINUED]);
});

test('on the last pod such a fault waits for a person like any other', async () => {
  const answers = Array.from({ length: 3 }, () => failed('otherHost'));
  const { jobs, end } = await run(
    'merge',
    answers,
    async (handle) => {
      for (;;) {
        const { waitingFor } = await handle.query(getProgressQuery);
        if (waitingFor !== null) break;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      expect([...tests.world.pods.values()]).toEqual(['anneal-test-tiny-r20260101-000000-a3']);
      await handle.executeUpdate(continueRunUpdate, { args: [{}] });
      return handle.result();
    },
    { spec: { ...SPEC, budget: { ...SPEC.budget, park: 'hold', onFailure: { keep: '2h' } } } },
  );
  expect(jobs).toHaveLength(4);
  expect(end.remedies).toEqual([CONTINUED, CONTINUED]);
});

test('where the money is over by then, the run ends as the job failed, and nothing was continued', async () => {
  // Three minutes of stopping are kept back, so the pod may work for five seconds.
  const spec = { ...SPEC, budget: { ...SPEC.budget, capUsd: 0.185 } };
  const { end } = await run('merge', [failed('otherHost')], failureOf, {
    spec,
    releasePods: async (input) => {
      await tests.env.sleep('6s');
      return fakeActivities(tests.world).releasePods(input);
    },
  });
  expect(end.failure.type).toBe('JobFailed');
  expect(end.remedies).toEqual([]);
});

test('a fault that does not pass fails after two repeats', async () => {
  const answers = Array.from({ length: 9 }, () => failed(null, 'same'));
  const { jobs, end } = await run('prepare', answers, endOf);
  expect(jobs).toHaveLength(3);
  expect(end).toBe('JobFailed');
});

test('what a person must mend fails at once', async () => {
  const { jobs, end } = await run('verify', [failed(null, 'person')], endOf);
  expect(jobs).toHaveLength(1);
  expect(end).toBe('JobFailed');
});
