import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { ApplicationFailure } from '@temporalio/common';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import type { Activities } from '../../contract/activities.ts';
import { extendBudgetUpdate, getProgressQuery } from '../../workflows/messages.ts';
import { FakeWorld, fakeActivities, hang, isStage, JOB_RESULTS } from '../support/fake-activities.ts';
import { aSpec } from '../support/specs.ts';
import { endTimeSkipping, startTimeSkipping, withPipeline } from '../support/time-skipping.ts';

let env: TestWorkflowEnvironment;
let world: FakeWorld;
beforeEach(async () => {
  env = await startTimeSkipping();
  world = new FakeWorld();
});
afterEach(() => endTimeSkipping(env));

/** A run whose merge waits until the budget was extended twice, and what its pod was told meanwhile. */
async function extendTwice(onMove: () => Promise<void>) {
  const told: number[] = [];
  const waited: { first: number; lifetimeMs: number } = { first: 0, lifetimeMs: 0 };
  let extended = false;
  const changes: Partial<Activities> = {
    createPod: ({ podName, lifetimeMs }) => {
      waited.lifetimeMs = lifetimeMs;
      return Promise.resolve({ kind: 'created', lease: world.createPod(podName) });
    },
    waitForPod: ({ lease, hardDeadlineMs }) => {
      waited.first = hardDeadlineMs;
      return Promise.resolve({ ...lease, address: { host: '127.0.0.1', port: 22 } });
    },
    moveDeadline: async ({ hardDeadlineMs }) => {
      told.push(hardDeadlineMs);
      await onMove();
    },
    followJob: async (input) => {
      if (isStage(input.jobId, 'merge')) await hang(() => extended);
      return { kind: 'succeeded', result: JOB_RESULTS[input.stage] };
    },
  };
  const result = await withPipeline(env, fakeActivities(world, changes), { spec: aSpec() }, async (handle) => {
    while ((await handle.query(getProgressQuery)).activeJob?.stage !== 'merge') await pause();
    await handle.executeUpdate(extendBudgetUpdate, { args: [5] });
    await handle.executeUpdate(extendBudgetUpdate, { args: [7] });
    while (told.length < 2) await pause();
    extended = true;
    return handle.result();
  });
  return { told, waited, result };
}
const pause = () => new Promise((resolve) => setTimeout(resolve, 20));

test('an extended budget moves the deadline of the pod that works, the newest last', async () => {
  const { told, waited, result } = await extendTwice(() => Promise.resolve());
  expect(waited.lifetimeMs).toBeGreaterThan(0);
  const [first = 0, second = 0] = told;
  expect(first).toBeGreaterThan(waited.first);
  expect(second).toBeGreaterThan(first);
  expect(world.count('moveDeadline')).toBe(2);
  expect(result.outputs.register?.modelId).toBe('m');
});

test('a pod that cannot be told does not hold up the run', async () => {
  const { result } = await extendTwice(() => Promise.reject(ApplicationFailure.nonRetryable('no', 'HostKeyMismatch')));
  expect(result.outputs.register?.modelId).toBe('m');
  expect(world.pods.size).toBe(0);
});
