import { activityInfo } from '@temporalio/activity';
import { WorkflowFailedError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Activities } from '../../contract/activities.ts';
import type { PipelineSpec, PipelineSpecInput } from '../../contract/spec.ts';
import type { PipelineInput, StageReport } from '../../contract/stages.ts';
import { fromUsd } from '../../domain/money.ts';
import { continueRunUpdate, extendBudgetUpdate, getProgressQuery } from '../../workflows/messages.ts';
import { recordRun } from '../replay/record-run.ts';
import { FakeWorld, fakeActivities, hang, isStage, JOB_RESULTS } from '../support/fake-activities.ts';
import { aPlan, aSpec } from '../support/specs.ts';
import { endTimeSkipping, startTimeSkipping, withPipeline, type PipelineHandle } from '../support/time-skipping.ts';

/**
 * The first belt: every timer of a run fires at its moment. The pod costs a tenth of a cent per second, so a meter shows
 * when. While an activity is in flight the server's clock runs in real time, so those moments are seconds away.
 */

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
/** What the machine under the test may add to a moment. */
const SLACK = 15 * SECOND;

let env: TestWorkflowEnvironment;
let world: FakeWorld;
beforeEach(async () => {
  env = await startTimeSkipping();
  world = new FakeWorld();
});
afterEach(() => endTimeSkipping(env));

const run = <T>(
  changes: Partial<Activities>,
  spec: PipelineSpec,
  body: (handle: PipelineHandle) => Promise<T>,
): Promise<T> => withPipeline(env, fakeActivities(world, changes), { spec }, body);

/** A spec of the pod alone: no reserve for serving, so the moments are easy to reckon. */
function podOnly(budget: Partial<PipelineSpecInput['budget']>): PipelineSpec {
  const { serve: _serve, ...spec } = aSpec({ budget: { capUsd: 12, grace: '1h', ...budget } });
  return spec;
}

/** How the run ended; every end of these tests is a failure of ours. */
async function failureOf(handle: PipelineHandle): Promise<ApplicationFailure> {
  const error: unknown = await handle.result().then(
    () => new Error('the run completed'),
    (failed: unknown) => failed,
  );
  if (error instanceof WorkflowFailedError && error.cause instanceof ApplicationFailure) return error.cause;
  throw error;
}

const lengthOf = ({ fromMs, toMs }: { fromMs: number; toMs: number | null }): number => (toMs ?? NaN) - fromMs;
const podMeters = (): NonNullable<FakeWorld['books']>['meters'] =>
  (world.books?.meters ?? []).filter(({ resource }) => resource === 'pod');

function expectMoment(actual: number, expected: number, slack = SLACK): void {
  expect(actual).toBeGreaterThanOrEqual(expected);
  expect(actual).toBeLessThanOrEqual(expected + slack);
}

const failQuantize: Partial<Activities> = {
  followJob: (input) =>
    Promise.resolve(
      isStage(input.jobId, 'quantize')
        ? { kind: 'failed', failure: { class: 'GroupSizeMismatch', message: 'not divisible', advice: 'use 64' } }
        : { kind: 'succeeded', result: JOB_RESULTS[input.stage] },
    ),
};

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 30_000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error('the condition never came true');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
const waitingFor = (handle: PipelineHandle, what: string): Promise<void> =>
  until(async () => (await handle.query(getProgressQuery)).waitingFor?.startsWith(what) ?? false);

describe('the budget', () => {
  // 3.60 USD at 3.60 an hour: warned after 48 minutes; three minutes of stopping are kept back, so stopped after 57.
  const kept = podOnly({ capUsd: 3.6, park: 'hold', onFailure: { keep: '3h' } });

  test('warns at 80 %, stops when cap less reserve is reached, and holds to the cap', async () => {
    const end = await run(failQuantize, kept, async (handle) => {
      await waitingFor(handle, 'continueRun');
      await env.sleep('47m');
      expect((await handle.query(getProgressQuery)).spend.warned).toBe(false);
      await env.sleep('90s');
      const { spend } = await handle.query(getProgressQuery);
      expect(spend.warned).toBe(true);
      expectMoment(spend.recorded, fromUsd(2.88), fromUsd(0.001));
      return failureOf(handle);
    });
    // A run that waits for a person keeps its own failure; what ended the wait was the money.
    expect(end.type).toBe('JobFailed');
    const [meter] = podMeters();
    expectMoment(lengthOf(meter!), 57 * MINUTE, 3 * SECOND);
    expect(world.books).toMatchObject({ overrun: 0 });
    expect(world.books!.spent).toBeLessThanOrEqual(fromUsd(3.6));
    expect(world.pods.size).toBe(0);
  });

  test('an extension puts warning and stop off by what it pays for', async () => {
    await run(failQuantize, kept, async (handle) => {
      await waitingFor(handle, 'continueRun');
      await env.sleep('50m');
      expect((await handle.query(getProgressQuery)).spend.warned).toBe(true);
      await handle.executeUpdate(extendBudgetUpdate, { args: [3.6] });
      expect((await handle.query(getProgressQuery)).spend.warned).toBe(false);
      return failureOf(handle);
    });
    expectMoment(lengthOf(podMeters()[0]!), 117 * MINUTE, 3 * SECOND);
    expect(world.books).toMatchObject({ overrun: 0, cap: fromUsd(7.2) });
  });

  test('a pod that cannot be told to checkpoint is given back at the checkpoint limit, and grace ends the run', async () => {
    const limits = { checkpointLimitMs: 2 * SECOND, terminateAllowanceMs: SECOND };
    const asked: number[] = [];
    const released: number[] = [];
    const changes: Partial<Activities> = {
      planRun: ({ spec }) => {
        const plan = aPlan(spec as PipelineSpec);
        return Promise.resolve({ ...plan, serving: null, settings: { ...plan.settings, ...limits } });
      },
      followJob: async (input) => {
        if (isStage(input.jobId, 'ablate')) await hang();
        return { kind: 'succeeded', result: JOB_RESULTS[input.stage] };
      },
      stopJob: async () => {
        asked.push(activityInfo().scheduledTimestampMs);
        // No word comes back for as long as there is a pod to wait for.
        await hang(() => released.length > 0);
      },
      releasePods: ({ podNames }) => {
        released.push(activityInfo().scheduledTimestampMs);
        world.pods.clear();
        return Promise.resolve({ ended: [{ podId: 'pod-1', podName: podNames[0]!, ratePerHour: fromUsd(3.6) }] });
      },
    };
    const end = await run(changes, podOnly({ capUsd: 0.006, grace: '1h' }), failureOf);
    expect(end.type).toBe('BudgetExceeded');
    expectMoment(released[0]! - asked[0]!, limits.checkpointLimitMs, 900);
    expect(world.books!.spent).toBeLessThanOrEqual(fromUsd(0.006));
    expectMoment(world.books!.end!.atMs - podMeters()[0]!.toMs!, HOUR);
  });
});

describe('clean-up that the provider never confirms', () => {
  const refuse = (): Promise<never> => Promise.reject(ApplicationFailure.retryable('still listed', 'ProviderRefusal'));

  test('ends at its bound as CleanupIncomplete with the ids, and what it cost beyond the cap is on the books', async () => {
    const end = await run({ releasePods: refuse }, podOnly({ capUsd: 1 }), failureOf);
    expect(end.type).toBe('CleanupIncomplete');
    expect(end.details).toEqual([{ podNames: ['anneal-test-tiny-r20260101-000000'], podIds: ['pod-1'] }]);
    const { meters, spent, overrun, end: closed } = world.books!;
    // Half an hour of a pod that nobody could end: 1.80 USD, and its meter runs on.
    expectMoment(spent, fromUsd(1.78), fromUsd(0.06));
    expect(overrun).toBe(spent - fromUsd(1));
    expect(meters).toMatchObject([{ resourceId: 'pod-1', toMs: null, amount: spent }]);
    expect(closed?.state).toBe('Failed');
  });

  test('of an endpoint names the endpoint', async () => {
    const changes: Partial<Activities> = {
      warmEndpoint: () => Promise.reject(ApplicationFailure.nonRetryable('crash loop', 'WarmupFailed')),
      releaseEndpoints: refuse,
    };
    const end = await run(changes, aSpec(), failureOf);
    expect(end.type).toBe('CleanupIncomplete');
    const name = 'anneal-test-tiny-r20260101-000000';
    expect(end.details).toEqual([{ endpointNames: [name], templateNames: [name] }]);
    const serving = world.books!.meters.find(({ resource }) => resource === 'serving')!;
    expectMoment(lengthOf(serving), 30 * MINUTE - 25 * SECOND, 25 * SECOND + SLACK);
  });

  const name = 'anneal-test-tiny-r20260101-000000';
  /** Serving two workers costs a fifth of a cent a second: the stop comes after two of them. */
  const shortOfMoney = aSpec({ budget: { capUsd: 0.006 } });
  const published: Omit<PipelineInput, 'spec'> = {
    outputs: {
      verify: JOB_RESULTS.verify,
      publish: { repo: 'anneal/tiny', commit: 'c'.repeat(40), tag: 'r1', files: 9, bytes: 1 },
    },
  };
  const deployShort = (changes: Partial<Activities>): Promise<ApplicationFailure> => {
    const planRun: Activities['planRun'] = ({ spec }) => {
      const plan = aPlan(spec as PipelineSpec);
      return Promise.resolve({ ...plan, settings: { ...plan.settings, terminateAllowanceMs: SECOND } });
    };
    const activities = fakeActivities(world, { planRun, ...changes });
    return withPipeline(env, activities, { spec: shortOfMoney, ...published }, failureOf);
  };
  const warming = async (): Promise<never> => (await hang(), Promise.reject(new Error('only a cancel ends it')));

  test('a deployment that the money stops is taken down, and the run says so', async () => {
    const end = await deployShort({ warmEndpoint: warming });
    expect(end.type).toBe('BudgetExceeded');
    expect(world.endpoints.size).toBe(0);
  });

  test('of a deployment that the money stopped is not hidden by the stop', async () => {
    const end = await deployShort({ warmEndpoint: warming, releaseEndpoints: refuse });
    expect(end.type).toBe('CleanupIncomplete');
    expect(end.details).toEqual([{ endpointNames: [name], templateNames: [name] }]);
    expect([...world.endpoints.values()]).toEqual([name]);
  });

  test('of a deployment that a person cancelled is not hidden by the cancel', async () => {
    const changes: Partial<Activities> = { warmEndpoint: warming, releaseEndpoints: refuse };
    const end = await run(changes, aSpec(), async (handle) => {
      await until(() => world.count('warmEndpoint') > 0);
      await handle.cancel();
      return failureOf(handle);
    });
    expect(end.type).toBe('CleanupIncomplete');
    expect(end.details).toEqual([{ endpointNames: [name], templateNames: [name] }]);
    expect(world.books?.end?.state).toBe('Failed');
  });

  test('of an endpoint that a cancelled registration leaves behind names it', async () => {
    let releases = 0;
    const changes: Partial<Activities> = {
      registerModel: warming,
      // The candidate goes; the endpoint that nobody wants any more does not.
      releaseEndpoints: (input) => (++releases === 1 ? fakeActivities(world).releaseEndpoints(input) : refuse()),
    };
    const end = await run(changes, aSpec(), async (handle) => {
      await until(() => world.count('registerModel') > 0);
      await handle.cancel();
      return failureOf(handle);
    });
    expect(end.type).toBe('CleanupIncomplete');
    expect(end.details).toEqual([{ endpointNames: ['anneal-test-tiny'], endpointIds: ['endpoint-3'] }]);
  });

  describe('of a live endpoint that does not take its former release back', () => {
    const left = { notRestored: ['anneal-test-tiny'], endpointIds: ['live'], templateNames: ['former'] };
    /** Holds on the candidate, not on the live endpoint. */
    const notThere = (what: Activities['warmEndpoint']): Activities['warmEndpoint'] => {
      return (input) =>
        input.endpointId === 'live' ? what(input) : Promise.resolve({ coldStartMs: 1, sawStates: [] });
    };
    const crash = notThere(() => Promise.reject(ApplicationFailure.nonRetryable('crash loop', 'WarmupFailed')));
    let deletedTemplates: string[];
    const live = (): Partial<Activities> => {
      world.endpoints.set('live', 'anneal-test-tiny');
      deletedTemplates = [];
      return {
        readEndpoint: async (input) => ({
          ...(await fakeActivities(world).readEndpoint(input)),
          templateName: 'former',
        }),
        restoreEndpoint: () => refuse(),
        releaseEndpoints: (input) => {
          deletedTemplates.push(...input.templateNames);
          return fakeActivities(world).releaseEndpoints(input);
        },
      };
    };

    test('the run says which, and its template stays', async () => {
      const end = await run({ ...live(), warmEndpoint: crash }, aSpec(), failureOf);
      expect([end.type, end.details]).toEqual(['CleanupIncomplete', [left]]);
      expect(deletedTemplates).toEqual([]);
      expect([...world.endpoints.keys()]).toEqual(['live']);
    });

    test('a budget stop does not hide it', async () => {
      const end = await deployShort({ ...live(), warmEndpoint: notThere(warming) });
      expect([end.type, end.details]).toEqual(['CleanupIncomplete', [left]]);
    });

    test('nor does a candidate that will not go', async () => {
      const end = await run({ ...live(), warmEndpoint: crash, releaseEndpoints: refuse }, aSpec(), failureOf);
      expect(end.type).toBe('CleanupIncomplete');
      expect(end.details).toEqual([{ ...left, endpointNames: [name] }]);
      expect(end.message).toMatch(/did not take .* back.*these endpoints/);
    });
  });
});

describe('waiting', () => {
  test('a failure is kept for exactly as long as the spec says', async () => {
    const spec = podOnly({ park: 'hold', onFailure: { keep: '2h' } });
    expect((await run(failQuantize, spec, failureOf)).type).toBe('JobFailed');
    expectMoment(lengthOf(podMeters()[0]!), 2 * HOUR);
    expect(world.pods.size).toBe(0);
  });

  test('a kept pod is parked at idleStopAfter, and the stopped one is given back when keep is over', async () => {
    const spec = podOnly({ park: 'stop', idleStopAfter: '20m', onFailure: { keep: '2h' } });
    expect((await run(failQuantize, spec, failureOf)).type).toBe('JobFailed');
    const [working, parked, ...others] = podMeters();
    expect(others).toEqual([]);
    expectMoment(lengthOf(working!), 20 * MINUTE);
    expect(parked!.ratePerHour).toBe(fromUsd(0.36));
    expectMoment(parked!.toMs! - working!.fromMs, 2 * HOUR);
    expect(world.pods.size).toBe(0);
  });

  test('a pod without a job is given back at idleStopAfter', async () => {
    const changes: Partial<Activities> = {
      preparePublish: () => Promise.reject(ApplicationFailure.retryable('503', 'ProviderUnavailable')),
    };
    const end = await run(changes, podOnly({ idleStopAfter: '7m' }), failureOf);
    expect(end.type).toBe('PodIdle');
    expectMoment(lengthOf(podMeters()[0]!), 7 * MINUTE);
  });

  test('a pod that never boots is given back a minute after its boot deadline', async () => {
    let attempts = 0;
    const changes: Partial<Activities> = {
      waitForPod: () => {
        attempts++;
        return Promise.reject(ApplicationFailure.retryable('no answer', 'ProviderUnavailable'));
      },
    };
    const end = await run(changes, podOnly({}), failureOf);
    expect(end.type).toBe('ProviderUnavailable');
    expect(attempts).toBeGreaterThan(100);
    // The last repetition that would end too late is not made.
    expectMoment(lengthOf(podMeters()[0]!), 46 * MINUTE - 15 * SECOND, 15 * SECOND + SLACK);
    expect(world.pods.size).toBe(0);
  });

  test('the wait for capacity is one wait over all creates, however long their settling takes', async () => {
    const waits: number[] = [];
    let looked = 0;
    const changes: Partial<Activities> = {
      createPod: ({ capacityWaitMs }) => {
        waits.push(capacityWaitMs);
        return waits.length < 3
          ? Promise.reject(ApplicationFailure.nonRetryable('no answer', 'CreateUncertain'))
          : Promise.resolve({ kind: 'noCapacity', tried: ['H100: no stock'] });
      },
      // Each settling takes 15 seconds of repetition.
      settlePod: () =>
        ++looked % 5 === 0 ? Promise.resolve(null) : Promise.reject(ApplicationFailure.retryable('502', 'Unavailable')),
    };
    const spec = aSpec({ compute: { capacityWait: '1m' } });
    expect((await run(changes, spec, failureOf)).type).toBe('NoGpuCapacity');
    expect(waits).toHaveLength(3);
    expectMoment(MINUTE - waits[0]!, 0, 5 * SECOND);
    expectMoment(MINUTE - waits[1]!, 15 * SECOND, 5 * SECOND);
    expectMoment(MINUTE - waits[2]!, 30 * SECOND, 8 * SECOND);
    expect(world.pods.size).toBe(0);
  });

  test('the quiet period of an unanswered create is waited out before a cancelled run is over', async () => {
    const looks: number[] = [];
    const changes: Partial<Activities> = {
      createPod: () => Promise.reject(ApplicationFailure.nonRetryable('no answer', 'CreateUncertain')),
      settlePod: async () => (await hang(), null),
      releasePods: () => {
        looks.push(activityInfo().scheduledTimestampMs);
        return Promise.resolve({ ended: [] });
      },
    };
    await run(changes, podOnly({}), async (handle) => {
      await until(() => world.count('settlePod') > 0);
      await handle.cancel();
      await expect(handle.result()).rejects.toThrow(WorkflowFailedError);
    });
    expect(looks).toHaveLength(2);
    expectMoment(looks[1]! - looks[0]!, 90 * SECOND, 5 * SECOND);
  });
});

test('a run that was parked goes on where it stood', async () => {
  let fixed = false;
  const changes: Partial<Activities> = {
    followJob: (input) =>
      Promise.resolve(
        isStage(input.jobId, 'quantize') && !fixed
          ? { kind: 'failed', failure: { class: 'GroupSizeMismatch', message: 'not divisible', advice: 'use 64' } }
          : { kind: 'succeeded', result: JOB_RESULTS[input.stage] },
      ),
  };
  const states = await run(changes, podOnly({ park: 'stop', onFailure: { keep: '2h' } }), async (handle) => {
    await waitingFor(handle, 'continueRun');
    await env.sleep('30m');
    expect([...world.stoppedPods]).toEqual(['pod-1']);
    fixed = true;
    await handle.executeUpdate(continueRunUpdate, { args: [{ 'quantize.groupSize': 64 }] });
    const { stages } = await handle.result();
    await recordRun('parked-and-continued', handle);
    return stages.map(({ stage, state }: StageReport) => `${stage} ${state}`);
  });
  expect(states).toContain('publish completed');
  expect([world.count('createPod'), world.count('startPod'), world.pods.size]).toEqual([1, 1, 0]);
});
