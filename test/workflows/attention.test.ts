import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { ApplicationFailure } from '@temporalio/common';
import { WorkflowUpdateFailedError } from '@temporalio/client';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import type { Activities } from '../../contract/activities.ts';
import type { PipelineSpecInput } from '../../contract/spec.ts';
import type { PipelineInput, PipelineResult } from '../../contract/stages.ts';
import { fromUsd } from '../../domain/money.ts';
import { continueRunUpdate, extendBudgetUpdate, getProgressQuery } from '../../workflows/messages.ts';
import { FakeWorld, fakeActivities, hang, isStage, JOB_RESULTS } from '../support/fake-activities.ts';
import { aPlan, aSpec } from '../support/specs.ts';
import {
  endOf,
  endTimeSkipping,
  startTimeSkipping,
  withPipeline,
  type PipelineHandle,
} from '../support/time-skipping.ts';

/** What a run does between "it failed" and "it is over": wait for a person, park the pod, go on where it stopped. */

let env: TestWorkflowEnvironment;
let world: FakeWorld;

beforeEach(async () => {
  env = await startTimeSkipping();
  world = new FakeWorld();
});
afterEach(() => endTimeSkipping(env));

type BudgetInput = PipelineSpecInput['budget'];

const run = <T>(
  changes: Partial<Activities>,
  input: Partial<PipelineInput>,
  body: (handle: PipelineHandle) => Promise<T>,
): Promise<T> => withPipeline(env, fakeActivities(world, changes), { spec: aSpec(), ...input }, body);

const keeping = (budget: Partial<BudgetInput> = {}): Partial<PipelineInput> => ({
  spec: aSpec({ budget: { capUsd: 12, grace: '1h', onFailure: { keep: '2h' }, ...budget } }),
});

/** Quantize fails until it is told of another group size. */
function failingQuantize(): Partial<Activities> {
  return {
    startJob: ({ stage, params }) => {
      if (stage === 'quantize') world.holdings.push(`groupSize:${String((params as { groupSize: number }).groupSize)}`);
      return Promise.resolve({ state: 'started', attempt: 1 });
    },
    followJob: (input) =>
      Promise.resolve(
        isStage(input.jobId, 'quantize') && !world.holdings.includes('groupSize:64')
          ? { kind: 'failed', failure: { class: 'GroupSizeMismatch', message: 'not divisible', advice: 'use 64' } }
          : { kind: 'succeeded', result: JOB_RESULTS[input.stage] },
      ),
  };
}

const waiting = async (handle: PipelineHandle): Promise<string> => {
  for (;;) {
    const { waitingFor } = await handle.query(getProgressQuery);
    if (waitingFor !== null) return waitingFor;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

const jobs = (stage: string): number =>
  world.calls.filter((call) => call.startsWith('startJob') && isStage(call, stage as 'ablate')).length;

describe('a failure that waits for a person', () => {
  test('goes on at the failed stage, on the same pod, with what was changed and nothing repeated', async () => {
    const result = await run(failingQuantize(), keeping(), async (handle) => {
      expect(await waiting(handle)).toContain('not divisible');
      const answer = await handle.executeUpdate(continueRunUpdate, { args: [{ 'quantize.groupSize': 64 }] });
      expect(answer).toEqual({ stage: 'quantize', changed: ['quantize.groupSize'] });
      return handle.result();
    });
    expect(result.stages.every(({ state }) => state === 'completed')).toBe(true);
    expect([world.count('createPod'), jobs('ablate'), jobs('merge'), jobs('quantize')]).toEqual([1, 1, 1, 2]);
    // A job id runs once, so the second has an id of its own.
    expect(world.calls).toContain('startJob:r20260101-000000-quantize-again1');
    expect(world.pods.size).toBe(0);
  });

  test('ends as it failed when nobody answers in time, and everything is given back', async () => {
    const end = await run(failingQuantize(), keeping({ park: 'hold' }), endOf);
    expect(end).toBe('JobFailed');
    expect(world.pods.size).toBe(0);
  });

  test('without keep a failure ends the run at once', async () => {
    expect(await run(failingQuantize(), {}, endOf)).toBe('JobFailed');
    expect(world.books!.meters[0]!.toMs! - world.books!.meters[0]!.fromMs).toBeLessThan(60_000);
  });

  test('a change that touches the ablation repeats it, from its journal', async () => {
    await run(failingQuantize(), keeping(), async (handle) => {
      await waiting(handle);
      const args: [Record<string, number>] = [{ 'quantize.groupSize': 64, 'ablate.trials': 20 }];
      await handle.executeUpdate(continueRunUpdate, { args });
      return handle.result();
    });
    expect([jobs('prepare'), jobs('ablate'), jobs('merge')]).toEqual([1, 2, 2]);
  });

  test.each([
    ['a name', { name: 'other' }],
    ['the cap', { 'budget.capUsd': 50 }],
    ['what is not an object', [1]],
  ])('refuses a change of %s, and goes on waiting', async (_what, changes) => {
    const end = await run(failingQuantize(), keeping(), async (handle) => {
      await waiting(handle);
      const sent = handle.executeUpdate(continueRunUpdate, { args: [changes as never] });
      await expect(sent).rejects.toThrow(WorkflowUpdateFailedError);
      return endOf(handle);
    });
    expect(end).toBe('JobFailed');
  });

  test('a change that cannot be planned is refused with its reason, and the run waits on', async () => {
    const activities = failingQuantize();
    let plans = 0;
    activities.planRun = ({ spec }) =>
      ++plans === 1
        ? Promise.resolve(aPlan(spec as ReturnType<typeof aSpec>))
        : Promise.reject(ApplicationFailure.nonRetryable('groupSize: 7 is not allowed', 'InvalidSpec'));
    const end = await run(activities, keeping(), async (handle) => {
      await waiting(handle);
      const sent = handle.executeUpdate(continueRunUpdate, { args: [{ 'quantize.groupSize': 7 }] });
      await expect(sent).rejects.toMatchObject({ cause: { message: 'groupSize: 7 is not allowed' } });
      expect(await waiting(handle)).toContain('continueRun');
      return endOf(handle);
    });
    expect(end).toBe('JobFailed');
  });

  test('a run that does not wait refuses to be continued', async () => {
    await run({ followJob: () => hang().then(() => ({ kind: 'stopped' })) }, {}, async (handle) => {
      while (world.count('followJob') === 0) await new Promise((resolve) => setTimeout(resolve, 20));
      const sent = handle.executeUpdate(continueRunUpdate, { args: [{}] });
      await expect(sent).rejects.toMatchObject({ cause: { message: expect.stringContaining('waits for a person') } });
      await handle.cancel();
      return endOf(handle);
    });
  });

  test('the cap holds while the pod is kept: it is given back and the failure stands', async () => {
    const end = await run(failingQuantize(), keeping({ capUsd: 1.8, park: 'hold' }), endOf);
    expect(end).toBe('JobFailed');
    expect(world.pods.size).toBe(0);
    expect(world.books!.overrun).toBe(0);
    expect(world.books!.spent).toBeLessThanOrEqual(fromUsd(1.8));
  });

  test('a deployment that fails is repeated with another setting, and nothing is rented meanwhile', async () => {
    const lengths: number[] = [];
    const changes: Partial<Activities> = {
      planRun: ({ spec }) => Promise.resolve(aPlan(aSpec(spec as PipelineSpecInput))),
      warmEndpoint: () => {
        lengths.push(world.endpoints.size);
        return lengths.length === 1
          ? Promise.reject(ApplicationFailure.nonRetryable('crash loop', 'WarmupFailed'))
          : Promise.resolve({ coldStartMs: 1, sawStates: [] });
      },
    };
    const result = await run(changes, keeping(), async (handle) => {
      expect(await waiting(handle)).toContain('crash loop');
      expect([world.pods.size, world.endpoints.size]).toEqual([0, 0]);
      await handle.executeUpdate(continueRunUpdate, { args: [{ 'serve.maxModelLen': 256 }] });
      return handle.result();
    });
    expect(result.outputs.register?.modelId).toBe('m');
    expect(world.count('createPod')).toBe(1);
  });
});

describe('what a person says at the wrong moment', () => {
  const failingRegistration: Partial<Activities> = {
    planRun: ({ spec }) => Promise.resolve(aPlan(aSpec(spec as PipelineSpecInput))),
    registerModel: () => Promise.reject(ApplicationFailure.nonRetryable('columns', 'RegistryMismatch')),
  };

  test('a published release is not built again by a change: it is refused, and the run waits on', async () => {
    await run(failingRegistration, keeping(), async (handle) => {
      await waiting(handle);
      const sent = handle.executeUpdate(continueRunUpdate, { args: [{ 'quantize.groupSize': 64 }] });
      await expect(sent).rejects.toMatchObject({ cause: { message: expect.stringContaining('is published') } });
      expect(await waiting(handle)).toContain('columns');
      await handle.cancel();
      await endOf(handle);
    });
  });

  test('a cancel while a failed registration waits takes the new endpoint down', async () => {
    await run(failingRegistration, keeping(), async (handle) => {
      await waiting(handle);
      expect([...world.endpoints.values()]).toEqual(['anneal-test-tiny']);
      await handle.cancel();
      await expect(handle.result()).rejects.toThrow();
    });
    expect([...world.endpoints.values()]).toEqual([]);
  });

  test('an answer that comes while the pod is being given back counts', async () => {
    let released = 0;
    const activities = fakeActivities(world, failingQuantize());
    const answered: Partial<Activities> = {
      ...failingQuantize(),
      releasePods: async (input) => {
        if (++released === 1) await hang(() => world.holdings.includes('answered'));
        return activities.releasePods(input);
      },
    };
    const result = await run(answered, keeping(), async (handle) => {
      await waiting(handle);
      await env.sleep('11m');
      while (released === 0) await new Promise((resolve) => setTimeout(resolve, 20));
      await handle.executeUpdate(continueRunUpdate, { args: [{ 'quantize.groupSize': 64 }] });
      world.holdings.push('answered');
      return handle.result();
    });
    expect(result.stages.every(({ state }) => state === 'completed')).toBe(true);
  });

  test('a pod that vanishes while a person is waited for is not replaced unasked', async () => {
    const gone = (): Promise<never> => Promise.reject(ApplicationFailure.nonRetryable('gone', 'PodGone'));
    expect(await run({ ...failingQuantize(), stopPod: gone }, keeping({ park: 'stop' }), endOf)).toBe('JobFailed');
    expect(world.count('createPod')).toBe(1);
  });
});

describe('parking the pod that waits', () => {
  /** Lets the server's clock go on by waiting for something on it. */
  const later = (duration: string): Promise<void> => env.sleep(duration);

  test('stop: the pod is stopped at its own rate, started again, proven again, and goes on', async () => {
    const result = await run(failingQuantize(), keeping({ park: 'stop' }), async (handle) => {
      await waiting(handle);
      await later('30m');
      expect([...world.stoppedPods]).toEqual(['pod-1']);
      const { spend } = await handle.query(getProgressQuery);
      expect(spend.ratePerHour).toBe(fromUsd(0.36));
      await handle.executeUpdate(continueRunUpdate, { args: [{ 'quantize.groupSize': 64 }] });
      return handle.result();
    });
    expect(result.stages.every(({ state }) => state === 'completed')).toBe(true);
    expect([world.count('createPod'), world.count('waitForPod'), jobs('ablate'), jobs('prepare')]).toEqual([
      1, 2, 1, 2,
    ]);
    const rates = world.books!.meters.filter(({ resource }) => resource === 'pod').map((meter) => meter.ratePerHour);
    expect(rates).toEqual([fromUsd(3.6), fromUsd(0.36), fromUsd(3.6)]);
    expect(world.books!.meters.every(({ toMs }) => toMs !== null)).toBe(true);
  });

  test('stop: when its GPU is gone a new pod goes on from the checkpoint', async () => {
    const changes: Partial<Activities> = {
      ...failingQuantize(),
      startPod: () => Promise.resolve({ kind: 'noCapacity' }),
    };
    const result = await run(changes, keeping({ park: 'stop' }), async (handle) => {
      await waiting(handle);
      await later('30m');
      await handle.executeUpdate(continueRunUpdate, { args: [{ 'quantize.groupSize': 64 }] });
      return handle.result();
    });
    expect(result.stages.every(({ state }) => state === 'completed')).toBe(true);
    expect([world.count('createPod'), jobs('ablate'), jobs('merge')]).toEqual([2, 1, 2]);
    expect(world.pods.size).toBe(0);
  });

  test('terminate: nothing is rented while the run waits on, and a new pod repeats no ablation', async () => {
    const result = await run(failingQuantize(), keeping({ park: 'terminate' }), async (handle) => {
      await waiting(handle);
      await later('30m');
      expect(world.pods.size).toBe(0);
      expect(await waiting(handle)).toContain('not divisible');
      await handle.executeUpdate(continueRunUpdate, { args: [{ 'quantize.groupSize': 64 }] });
      return handle.result();
    });
    expect(result.stages.every(({ state }) => state === 'completed')).toBe(true);
    expect([world.count('createPod'), jobs('ablate')]).toEqual([2, 1]);
  });

  test('hold: the pod stays as it is until a person answers', async () => {
    const result = await run(failingQuantize(), keeping({ park: 'hold' }), async (handle) => {
      await waiting(handle);
      await later('90m');
      expect([world.pods.size, world.stoppedPods.size]).toEqual([1, 0]);
      await handle.executeUpdate(continueRunUpdate, { args: [{ 'quantize.groupSize': 64 }] });
      return handle.result();
    });
    expect(result.stages.every(({ state }) => state === 'completed')).toBe(true);
    expect(world.count('createPod')).toBe(1);
  });
});

describe('a pod without a job', () => {
  const stuckPublish: Partial<Activities> = {
    preparePublish: () => Promise.reject(ApplicationFailure.retryable('503', 'ProviderUnavailable')),
  };

  test('ends the run as PodIdle after idleStopAfter', async () => {
    const spec = aSpec({ budget: { capUsd: 12, idleStopAfter: '3m' } });
    expect(await run(stuckPublish, { spec }, endOf)).toBe('PodIdle');
    expect(world.pods.size).toBe(0);
    expect(world.books!.spent).toBeLessThan(fromUsd(0.4));
  });

  test('is left alone where the spec holds it', async () => {
    const spec = aSpec({ budget: { capUsd: 12, idleStopAfter: '1m', park: 'hold' } });
    const end = await run(stuckPublish, { spec }, endOf);
    expect(end).not.toBe('PodIdle');
  });
});

describe('a run that begins or ends in the middle', () => {
  const checkpoint = { runId: 'earlier', sha256: 'a'.repeat(64) };
  const states = ({ stages }: PipelineResult): string[] => stages.map(({ stage, state }) => `${stage} ${state}`);

  test('a given ablation is put onto the pod and not made again', async () => {
    const outputs = { ablate: JOB_RESULTS.ablate, checkpoint };
    const result = await run({}, { outputs }, (handle) => handle.result());
    expect([jobs('ablate'), world.count('restoreCheckpoint'), world.count('checkGiven')]).toEqual([0, 1, 1]);
    expect(states(result)).toContain('ablate skipped');
  });

  test('trials of an unfinished ablation go on', async () => {
    await run({}, { outputs: { checkpoint } }, (handle) => handle.result());
    expect([jobs('ablate'), world.count('restoreCheckpoint')]).toEqual([1, 1]);
  });

  test('what is not what its digest says is refused before anything is rented', async () => {
    const refuse = (): Promise<never> =>
      Promise.reject(ApplicationFailure.nonRetryable('other digest', 'OutputMismatch'));
    expect(await run({ checkGiven: refuse }, { outputs: { checkpoint } }, endOf)).toBe('OutputMismatch');
    expect(world.count('createPod')).toBe(0);
  });

  test.each([
    ['plan', 'provision', 0],
    ['ablate', 'merge', 1],
    ['publish', 'deploy', 1],
    ['smoke', 'register', 1],
  ] as const)('--until %s: %s is not run, the run completes, nothing is rented', async (until, next, pods) => {
    const result = await run({}, { until }, (handle) => handle.result());
    expect(states(result)).toEqual(expect.arrayContaining([`${until} completed`, `${next} skipped`]));
    expect(world.count('createPod')).toBe(pods);
    expect(world.pods.size).toBe(0);
    expect(world.checkpointed).toBe(until !== 'plan');
  });

  test('--until inside a deployment, or on no stage, is refused', async () => {
    expect(await run({}, { until: 'warmup' }, endOf)).toBe('InvalidSpec');
  });
});

test('an extension during a deployment moves the deadline of what it rents', async () => {
  const moved: { names: string[]; pod: unknown }[] = [];
  const changes: Partial<Activities> = {
    moveDeadline: ({ names, pod }) => (moved.push({ names, pod }), Promise.resolve()),
    warmEndpoint: () => hang(() => moved.length > 0).then(() => ({ coldStartMs: 1, sawStates: [] })),
  };
  await run(changes, {}, async (handle) => {
    while (world.count('warmEndpoint') === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    await handle.executeUpdate(extendBudgetUpdate, { args: [5] });
    return handle.result();
  });
  expect(moved[0]).toEqual({ names: ['anneal-test-tiny-r20260101-000000', 'anneal-test-tiny'], pod: null });
});

test('workers that go away while a create waits for capacity do not use up the creates', async () => {
  let creates = 0;
  const changes: Partial<Activities> = {
    createPod: async ({ podName }) => {
      // Silence for longer than the heartbeat timeout is what a killed worker looks like.
      if (++creates <= 3) {
        await new Promise((resolve) => setTimeout(resolve, 13_000));
        throw new Error('nobody hears this');
      }
      return { kind: 'created', lease: world.createPod(podName) };
    },
    settlePod: () => Promise.resolve(null),
  };
  const outcome = await run(changes, { until: 'prepare' }, (handle) => handle.result());
  expect(outcome.outputs.provision?.podName).toContain('-a4');
  expect(world.pods.size).toBe(0);
});
