import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { activityInfo } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { fail } from '../../activities/lib/to-failure.ts';
import type { Activities } from '../../contract/activities.ts';
import { deployWorkflowId } from '../../contract/names.ts';
import { POD_JOB_STAGES } from '../../contract/stage-names.ts';
import type { PipelineSpec } from '../../contract/spec.ts';
import type { PipelineInput } from '../../contract/stages.ts';
import { fromUsd, ZERO_USD } from '../../domain/money.ts';
import { extendBudgetUpdate, approveUpdate, getProgressQuery, cancelRunSignal } from '../../workflows/messages.ts';
import { recordRun } from '../replay/record-run.ts';
import { FakeWorld, fakeActivities, hang, isStage, JOB_RESULTS, SMOKE } from '../support/fake-activities.ts';
import { aPlan, aSpec } from '../support/specs.ts';
import {
  endOf,
  endTimeSkipping,
  startTimeSkipping,
  withPipeline,
  type PipelineHandle,
} from '../support/time-skipping.ts';

let env: TestWorkflowEnvironment;
let world: FakeWorld;

beforeEach(async () => {
  env = await startTimeSkipping();
  world = new FakeWorld();
});
afterEach(() => endTimeSkipping(env));

const run = <T>(
  changes: Partial<Activities>,
  body: (handle: PipelineHandle) => Promise<T>,
  spec: PipelineSpec = aSpec(),
): Promise<T> => withPipeline(env, fakeActivities(world, changes), { spec }, body);

/** What comes after a hang that only a cancel ends. */
const unreachable = (): never => {
  throw new Error('unreachable');
};

/** {@link endOf}, and the run's history for the replay tests. */
const recordedEnd =
  (name: string) =>
  async (handle: PipelineHandle): Promise<string> => {
    const end = await endOf(handle);
    await recordRun(name, handle);
    return end;
  };

const refused =
  (type: string): (() => Promise<never>) =>
  () =>
    Promise.reject(ApplicationFailure.nonRetryable('refused by the test', type));

const nothingRented = (): void => {
  expect([...world.pods]).toEqual([]);
  expect([...world.endpoints].map(([, name]) => name)).toEqual([]);
};

test('runs every stage, gives the pod back before serving, and ends registered', async () => {
  const order: string[] = [];
  const result = await run(
    {
      createEndpoint: ({ endpointName }) => {
        order.push(`pods:${world.pods.size}`);
        return Promise.resolve(world.createEndpoint(endpointName));
      },
    },
    async (handle) => {
      const ended = await handle.result();
      const child = env.client.workflow.getHandle(deployWorkflowId('tiny'));
      await recordRun('deploy-release', child);
      return ended;
    },
  );
  expect(result.stages.map(({ stage, state }) => `${stage} ${state}`)).toEqual(
    'plan provision prepare ablate merge quantize verify publish deploy warmup smoke register'
      .split(' ')
      .map((stage) => `${stage} completed`),
  );
  expect(order).toEqual(['pods:0', 'pods:0']);
  expect(world.pods.size).toBe(0);
  expect([...world.endpoints.values()]).toEqual(['anneal-test-tiny']);
  expect(world.holdings[0]).toBe('anneal-test-tiny-r20260101-000000');
  expect(world.books?.end?.state).toBe('Completed');
  expect(result.outputs.register).toEqual({ modelId: 'm', deploymentId: 'd', updated: false, warnings: [] });
});

test('a stage whose output is given is skipped, and no pod is rented for what is published', async () => {
  const outputs = {
    verify: JOB_RESULTS.verify,
    publish: { repo: 'anneal/tiny', commit: 'c'.repeat(40), tag: 'r1', files: 9, bytes: 1 },
  };
  const activities = fakeActivities(world);
  expect(await withPipeline(env, activities, { spec: aSpec(), outputs }, recordedEnd('given-outputs'))).toBe(
    'Completed',
  );
  expect(world.count('registerModel')).toBe(1);
  expect(world.count('createPod')).toBe(0);
});

test.each(POD_JOB_STAGES)('a failure in %s ends the run as JobFailed with no pod', async (stage) => {
  const changes: Partial<Activities> = {
    followJob: (input) =>
      Promise.resolve(
        isStage(input.jobId, stage)
          ? {
              kind: 'failed',
              failure: { class: 'OutOfMemory', message: 'CUDA out of memory', advice: 'smaller batch' },
            }
          : { kind: 'succeeded', result: JOB_RESULTS[input.stage] },
      ),
  };
  expect(await run(changes, recordedEnd(`failed-${stage}`))).toBe('JobFailed');
  nothingRented();
  expect(world.books?.end?.state).toBe('Failed');
});

test.each([
  ['plan', { planRun: refused('PlanRefused') }, 'PlanRefused'],
  ['provision', { createPod: refused('ProviderRefused') }, 'ProviderRefused'],
  ['provision, boot', { waitForPod: refused('PodGone') }, 'PodGone'],
  ['publish, mismatch', { verifyUpload: refused('ManifestMismatch') }, 'ManifestMismatch'],
  ['deploy', { createEndpoint: refused('ProviderRefused') }, 'ProviderRefused'],
  ['warmup', { warmEndpoint: refused('WarmupFailed') }, 'WarmupFailed'],
] satisfies [string, Partial<Activities>, string][])(
  'a failure in %s leaves nothing rented',
  async (stage, changes, type) => {
    expect(await run(changes, recordedEnd(`failed-${stage.replace(', ', '-')}`))).toBe(type);
    nothingRented();
  },
);

test('a registration that fails for good does not undo the working endpoint', async () => {
  const changes = { registerModel: refused('RegistryMismatch') };
  expect(await run(changes, recordedEnd('failed-register'))).toBe('RegistryMismatch');
  expect(world.pods.size).toBe(0);
  expect([...world.endpoints.values()]).toEqual(['anneal-test-tiny']);
});

test('no capacity within the wait limit ends as NoGpuCapacity', async () => {
  const changes: Partial<Activities> = {
    createPod: () => Promise.resolve({ kind: 'noCapacity', tried: ['H100: no stock'] }),
  };
  expect(await run(changes, endOf)).toBe('NoGpuCapacity');
});

test('a rejected smoke test takes the candidate down and never touches a stable endpoint', async () => {
  const changes: Partial<Activities> = {
    smokeEndpoint: () =>
      Promise.resolve({
        kind: 'rejected',
        output: {
          checks: [{ name: 'answer', passed: false, detail: 'other text' }],
          sample: { prompt: '', answer: '' },
          firstTokenMs: 1,
          tokensPerSecond: 1,
          namesRelease: true,
        },
      }),
  };
  expect(await run(changes, recordedEnd('failed-smoke'))).toBe('SmokeTestFailed');
  nothingRented();
});

test.each([
  ['a live endpoint is proven by the name of the release', true, true, 'named', 'tiny.r20260101-000000'],
  ['a new stable endpoint as well', false, true, 'named', 'tiny.r20260101-000000'],
  ['workers that do not name it are asked as ever, and told so', true, false, 'unnamed', undefined],
  ['on a new endpoint there is nobody else to answer', false, false, 'one', undefined],
] as const)('after the candidate: %s', async (_what, live, namesRelease, releases, releaseName) => {
  if (live) world.endpoints.set('endpoint-live', 'anneal-test-tiny');
  const asked: (string | undefined)[][] = [];
  const changes: Partial<Activities> = {
    warmEndpoint: (input) => {
      asked.push(['warm', input.releaseName]);
      return Promise.resolve({ coldStartMs: 1, sawStates: [] });
    },
    smokeEndpoint: (input) => {
      asked.push(['smoke', input.releases]);
      return Promise.resolve({ kind: 'passed', output: { ...SMOKE, namesRelease } });
    },
  };
  expect(await run(changes, endOf)).toBe('Completed');
  expect(asked).toEqual([
    ['warm', undefined],
    ['smoke', 'one'],
    ['warm', releaseName],
    ['smoke', releases],
  ]);
});

test('a release that does not hold on the live endpoint gives the former one back', async () => {
  world.endpoints.set('endpoint-live', 'anneal-test-tiny');
  const restored: string[] = [];
  const changes: Partial<Activities> = {
    warmEndpoint: ({ endpointId }) =>
      endpointId === 'endpoint-live' ? refused('WarmupFailed')() : Promise.resolve({ coldStartMs: 1, sawStates: [] }),
    restoreEndpoint: ({ endpointId, previous }) => (
      restored.push(`${endpointId} ${previous.settings.templateId}`),
      Promise.resolve()
    ),
  };
  expect(await run(changes, endOf)).toBe('WarmupFailed');
  expect(restored).toEqual(['endpoint-live template-old']);
  expect([...world.endpoints.values()]).toEqual(['anneal-test-tiny']);
});

test.each(['prepare', 'ablate', 'merge', 'quantize', 'verify', 'publish'] as const)(
  'a cancel during %s ends as Cancelled with no pod',
  async (stage) => {
    const changes: Partial<Activities> = {
      followJob: async (input) => {
        if (isStage(input.jobId, stage)) await hang();
        return { kind: 'succeeded', result: JOB_RESULTS[input.stage] };
      },
    };
    const end = await run(changes, async (handle) => {
      await until(() => world.calls.some((call) => call.startsWith('followJob') && call.includes(`-${stage}`)));
      await handle.cancel();
      return stage === 'ablate' ? recordedEnd('cancelled-ablate')(handle) : endOf(handle);
    });
    expect(end).toBe('CancelledFailure');
    nothingRented();
    expect(world.books?.end?.state).toBe('Cancelled');
  },
);

test.each([
  ['plan', { planRun: async () => hang().then(unreachable) }, 'planRun'],
  ['provision', { waitForPod: async () => hang().then(unreachable) }, 'waitForPod'],
  ['deploy', { createEndpoint: async () => hang().then(unreachable) }, 'createEndpoint'],
  ['warmup', { warmEndpoint: async () => hang().then(unreachable) }, 'warmEndpoint'],
  ['smoke', { smokeEndpoint: async () => hang().then(unreachable) }, 'smokeEndpoint'],
  ['register', { registerModel: async () => hang().then(unreachable) }, 'registerModel'],
] satisfies [string, Partial<Activities>, keyof Activities][])(
  'a cancel during %s leaves nothing rented',
  async (_stage, changes, activity) => {
    const end = await run(changes, async (handle) => {
      await until(() => world.count(activity) > 0);
      await handle.cancel();
      return endOf(handle);
    });
    expect(end).toBe('CancelledFailure');
    nothingRented();
  },
);

/** Holds each end of endpoints until the test opens the gate. */
function gatedRelease(): { releaseEndpoints: Activities['releaseEndpoints']; open: () => void } {
  let isOpen = false;
  const ungated = fakeActivities(world);
  return {
    releaseEndpoints: async (input) => (await hang(() => isOpen), ungated.releaseEndpoints(input)),
    open: () => (isOpen = true),
  };
}

test('a run that is cancelled while it deploys is open until its endpoint is gone', async () => {
  const { releaseEndpoints, open } = gatedRelease();
  const changes: Partial<Activities> = { warmEndpoint: async () => hang().then(unreachable), releaseEndpoints };
  const end = await run(changes, async (handle) => {
    await until(() => world.count('warmEndpoint') > 0);
    await handle.cancel();
    await until(() => world.count('releaseEndpoints') > 0);
    expect([world.endpoints.size, world.books?.end]).toEqual([1, null]);
    expect((await handle.describe()).status.name).toBe('RUNNING');
    open();
    return recordedEnd('cancelled-deploy')(handle);
  });
  expect(end).toBe('CancelledFailure');
  nothingRented();
  expect(world.books?.end?.state).toBe('Cancelled');
});

test.each([[true], [false]])(
  'a cancel that comes as the deployment ends takes the new endpoint down again, registered %s',
  async (enabled) => {
    const { releaseEndpoints, open } = gatedRelease();
    const spec = aSpec({ register: { enabled } });
    const end = await run(
      { releaseEndpoints },
      async (handle) => {
        // The stable endpoint is proven; only the candidate is still to go.
        await until(() => world.count('releaseEndpoints') > 0);
        await handle.cancel();
        const child = env.client.workflow.getHandle(deployWorkflowId('tiny'));
        await until(async () => asked(await child.fetchHistory()));
        open();
        return endOf(handle);
      },
      spec,
    );
    expect(end).toBe('CancelledFailure');
    nothingRented();
  },
);

/** Whether a cancel has reached the workflow of this history. */
const asked = ({
  events,
}: {
  events?: { workflowExecutionCancelRequestedEventAttributes?: unknown }[] | null;
}): boolean => (events ?? []).some((event) => Boolean(event.workflowExecutionCancelRequestedEventAttributes));

test('the cancelRun signal ends the run as Cancelled too', async () => {
  const changes: Partial<Activities> = {
    followJob: async () => (await hang(), { kind: 'lost' }),
  };
  const end = await run(changes, async (handle) => {
    await until(() => world.count('followJob') > 0);
    await handle.signal(cancelRunSignal, 'changed my mind');
    return endOf(handle);
  });
  expect(end).toBe('CancelledFailure');
  nothingRented();
});

test('signals of a wrong shape and a cancel that cannot be delivered leave the run as it is', async () => {
  const changes: Partial<Activities> = { cancelOwnRun: refused('ProviderRefused') };
  const end = await run(changes, async (handle) => {
    await handle.signal('stageEdge', { stage: 'nonsense' });
    await handle.signal('stageEdge', null);
    await handle.signal(cancelRunSignal, 'nobody hears it');
    return endOf(handle);
  });
  expect(end).toBe('Completed');
});

test.each([[undefined], [{}], [{ spec: { name: 7, budget: 'much' } }]])(
  'a start with %j instead of a spec fails the run, not its task',
  async (input) => {
    const activities = fakeActivities(world, { planRun: refused('InvalidSpec') });
    const end = await withPipeline(env, activities, input as unknown as PipelineInput, endOf);
    expect(end).toBe('InvalidSpec');
  },
);

test('a cancel during a slow create waits for its answer and ends what it made', async () => {
  let answered = false;
  const changes: Partial<Activities> = {
    createPod: async ({ podName }) => {
      const lease = await new Promise<ReturnType<FakeWorld['createPod']>>((resolve) => {
        setTimeout(() => {
          answered = true;
          resolve(world.createPod(podName));
        }, 1_000);
      });
      return { kind: 'created', lease };
    },
  };
  const end = await run(changes, async (handle) => {
    await until(() => world.count('createPod') > 0);
    await handle.cancel();
    return endOf(handle);
  });
  expect(answered).toBe(true);
  expect(end).toBe('CancelledFailure');
  nothingRented();
});

test('an unanswered create is looked for, adopted and not repeated', async () => {
  const changes: Partial<Activities> = {
    createPod: ({ podName }) => {
      world.createPod(podName);
      return Promise.reject(ApplicationFailure.nonRetryable('no answer', 'CreateUncertain'));
    },
    settlePod: ({ podName }) => {
      const found = [...world.pods].find(([, name]) => name === podName);
      return Promise.resolve(
        found ? { podId: found[0], podName, gpuTypeId: 'x', ratePerHour: fromUsd(3.6), tried: [] } : null,
      );
    },
  };
  expect(await run(changes, recordedEnd('create-adopted'))).toBe('Completed');
  expect(world.count('createPod')).toBe(1);
  expect(world.pods.size).toBe(0);
});

test('a create that provably left nothing is tried again under the next name', async () => {
  let attempts = 0;
  const names: string[] = [];
  const changes: Partial<Activities> = {
    createPod: ({ podName }) => {
      names.push(podName);
      return ++attempts === 1
        ? Promise.reject(ApplicationFailure.nonRetryable('no answer', 'CreateUncertain'))
        : Promise.resolve({ kind: 'created', lease: world.createPod(podName) });
    },
  };
  expect(await run(changes, recordedEnd('create-repeated'))).toBe('Completed');
  expect(names).toEqual(['anneal-test-tiny-r20260101-000000', 'anneal-test-tiny-r20260101-000000-a2']);
});

test('creates that were never sent are made again under the next name: nothing is looked for, no quiet period passes', async () => {
  const notSent = (): Promise<never> =>
    Promise.reject(fail('ProviderUnavailable', 'its turn did not come', { code: 'NotSent' }));
  const [pods, endpoints]: [string[], string[]] = [[], []];
  const changes: Partial<Activities> = {
    createPod: ({ podName }) =>
      // More often than unanswered creates are forgiven.
      pods.push(podName) <= 4 ? notSent() : Promise.resolve({ kind: 'created', lease: world.createPod(podName) }),
    createEndpoint: ({ endpointName }) =>
      endpoints.push(endpointName) <= 2 ? notSent() : Promise.resolve(world.createEndpoint(endpointName)),
  };
  const end = await run(changes, async (handle) => {
    const result = await endOf(handle);
    const { events } = await handle.fetchHistory();
    const timers = (events ?? []).map((event) => event.timerStartedEventAttributes?.startToFireTimeout?.seconds);
    expect(timers.map(Number)).not.toContain(aPlan().settings.quietPeriodMs / 1_000);
    return result;
  });
  expect(end).toBe('Completed');
  expect(new Set(pods).size).toBe(5);
  expect(pods.at(-1)).toMatch(/-a5$/);
  expect(endpoints.slice(0, 3)).toEqual(Array(3).fill(endpoints[0]));
  expect([world.count('settlePod'), world.count('settleEndpoint'), world.pods.size]).toEqual([0, 0, 0]);
});

test('creates that never have a turn end the run with what to do, and nothing rented', async () => {
  const changes: Partial<Activities> = {
    createPod: () => Promise.reject(fail('ProviderUnavailable', 'its turn did not come', { code: 'NotSent' })),
  };
  expect(await run(changes, endOf)).toBe('ProviderUnavailable');
  expect([world.count('createPod'), world.count('settlePod')]).toEqual([20, 0]);
  nothingRented();
});

test('a cancel while a create is unsettled waits for the quiet period and ends the late pod', async () => {
  let late = false;
  const changes: Partial<Activities> = {
    createPod: ({ podName }) => {
      // Appears only after the first clean-up has looked.
      world.holdings.push(`late:${podName}`);
      return Promise.reject(ApplicationFailure.nonRetryable('no answer', 'CreateUncertain'));
    },
    settlePod: async () => (await hang(), null),
    releasePods: ({ podNames }) => {
      if (!late) {
        late = true;
        world.createPod(podNames[0] ?? '');
        return Promise.resolve({ ended: [] });
      }
      world.pods.clear();
      return Promise.resolve({ ended: [{ podId: 'pod-1', podName: podNames[0] ?? '', ratePerHour: fromUsd(3.6) }] });
    },
  };
  const end = await run(changes, async (handle) => {
    await until(() => world.count('settlePod') > 0);
    await handle.cancel();
    return endOf(handle);
  });
  expect(end).toBe('CancelledFailure');
  expect(world.count('releasePods')).toBe(2);
  nothingRented();
  // Nobody knew of it, yet somebody has paid for it: from the moment it was asked for, through the quiet period.
  const [meter] = world.books?.meters ?? [];
  expect(meter?.resourceId).toBe('pod-1');
  expect(meter?.amount).toBeGreaterThanOrEqual(fromUsd(0.09));
});

/**
 * A cap that a pod at 0.1 cent a second reaches after about a second of real work: with an activity in flight the test
 * server's clock runs in real time. Serving costs nothing here, so nothing is held back for it.
 */
test('a finished ablation that is all that was asked for rents nothing', async () => {
  const { ablate } = JOB_RESULTS;
  const input: PipelineInput = {
    spec: aSpec(),
    until: 'ablate',
    outputs: { ablate, checkpoint: { runId: 'earlier', sha256: 'a'.repeat(64) } },
  };
  const changes: Partial<Activities> = {
    planRun: ({ notDone }) => Promise.resolve({ ...aPlan(), pods: notDone?.includes('provision') ? [] : aPlan().pods }),
  };
  const result = await withPipeline(env, fakeActivities(world, changes), input, (handle) => handle.result());
  expect(result.outputs.ablate).toEqual(ablate);
  expect(world.count('createPod')).toBe(0);
});

test('a stalled job on a pod that cannot be told ends the run as stalled, and soon', async () => {
  const asked: number[] = [];
  const changes: Partial<Activities> = {
    followJob: async (input) =>
      isStage(input.jobId, 'merge')
        ? { kind: 'stalled', idleMs: 90_000 }
        : { kind: 'succeeded', result: JOB_RESULTS[input.stage] },
    stopJob: () => {
      asked.push(activityInfo().scheduledTimestampMs);
      return Promise.reject(ApplicationFailure.create({ type: 'SshUnreachable', message: 'silent' }));
    },
  };
  expect(await run(changes, endOf)).toBe('JobStalled');
  nothingRented();
  // The job may take two minutes to stop; the pod is not paid for longer than that.
  expect(world.books!.end!.atMs - asked[0]!).toBeLessThan(150_000);
});

const SHORT = { checkpointLimitMs: 2_000, terminateAllowanceMs: 1_000 };
const shortOfMoney = {
  planRun: ({ spec }) => {
    const plan = aPlan(aSpec(spec as PipelineSpec));
    const serving = plan.serving && { ...plan.serving, pricePerWorkerHour: ZERO_USD };
    return Promise.resolve({ ...plan, serving, settings: { ...plan.settings, ...SHORT } });
  },
} satisfies Partial<Activities>;
const CAP_USD = 0.0045;

test('reaching the budget in ablate checkpoints, gives the pod back and, unextended, ends as BudgetExceeded under the cap', async () => {
  const changes: Partial<Activities> = {
    ...shortOfMoney,
    followJob: async (input) => {
      if (!isStage(input.jobId, 'ablate')) return { kind: 'succeeded', result: JOB_RESULTS[input.stage] };
      await hang(() => world.stopped.has(input.jobId));
      return { kind: 'stopped' };
    },
  };
  const spec = aSpec({ budget: { capUsd: CAP_USD, grace: '1h' } });
  expect(await run(changes, recordedEnd('budget-exceeded'), spec)).toBe('BudgetExceeded');
  expect(world.count('stopJob')).toBe(1);
  expect(world.count('saveCheckpoint')).toBe(1);
  nothingRented();
  expect(world.books?.spent).toBeLessThanOrEqual(fromUsd(CAP_USD));
  expect(world.books?.spent).toBeGreaterThan(0);
});

test('an extended budget continues on a new pod without a repeated ablation', async () => {
  const changes: Partial<Activities> = {
    ...shortOfMoney,
    followJob: async (input) => {
      if (isStage(input.jobId, 'merge') && world.count('createPod') === 1) {
        await hang(() => world.stopped.has(input.jobId));
        return { kind: 'stopped' };
      }
      return { kind: 'succeeded', result: JOB_RESULTS[input.stage] };
    },
  };
  const result = await run(
    changes,
    async (handle) => {
      await until(async () => (await handle.query(getProgressQuery)).waitingFor === 'extendBudget');
      expect(world.pods.size).toBe(0);
      expect(await handle.executeUpdate(extendBudgetUpdate, { args: [5] })).toEqual({ capUsd: 5 + CAP_USD });
      const ended = await handle.result();
      await recordRun('budget-extended', handle);
      return ended;
    },
    aSpec({ budget: { capUsd: CAP_USD, grace: '1h' } }),
  );
  expect(result.outputs.register?.modelId).toBe('m');
  expect(world.calls.filter((call) => call.startsWith('startJob') && call.includes('ablate'))).toHaveLength(1);
  expect(world.count('createPod')).toBe(2);
  expect(world.count('restoreCheckpoint')).toBe(1);
});

test('a pod that is taken away is replaced; what was done stays done', async () => {
  let lost = false;
  const changes: Partial<Activities> = {
    followJob: (input) => {
      if (!isStage(input.jobId, 'quantize') || lost)
        return Promise.resolve({ kind: 'succeeded', result: JOB_RESULTS[input.stage] });
      lost = true;
      return Promise.resolve({ kind: 'podGone', reason: 'taken away' });
    },
  };
  expect(await run(changes, endOf)).toBe('Completed');
  expect(world.count('createPod')).toBe(2);
  expect(world.calls.filter((call) => call.startsWith('startJob') && call.includes('ablate'))).toHaveLength(1);
});

test('a provider that will not confirm the end makes the run end as CleanupIncomplete with the ids', async () => {
  const changes: Partial<Activities> = {
    releasePods: () => Promise.reject(ApplicationFailure.retryable('still listed', 'ProviderUnavailable')),
  };
  expect(await run(changes, recordedEnd('cleanup-incomplete'))).toBe('CleanupIncomplete');
});

test('approvals hold the run before provision until somebody approves', async () => {
  const end = await run(
    {},
    async (handle) => {
      await until(async () => (await handle.query(getProgressQuery)).waitingFor === 'approval of provision');
      expect(world.count('createPod')).toBe(0);
      await expect(handle.executeUpdate(approveUpdate, { args: ['deploy', 'a person', ''] })).rejects.toThrow();
      await handle.executeUpdate(approveUpdate, { args: ['provision', 'a person', ''] });
      return endOf(handle);
    },
    aSpec({ approvals: ['provision'] }),
  );
  expect(end).toBe('Completed');
});

test('a history stays small whatever the stages do', async () => {
  const events = await run({}, async (handle) => {
    await handle.result();
    return (await handle.fetchHistory()).events ?? [];
  });
  expect(events.length).toBeLessThanOrEqual(250);
});

/** Waits for a condition of the fake world; the deadline is generous, since it only bounds a failing test. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 30_000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error('the condition never came true');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
