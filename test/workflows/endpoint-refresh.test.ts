import { expect, test } from '@jest/globals';
import type { Activities } from '../../contract/activities.ts';
import { TASK_QUEUES } from '../../contract/names.ts';
import type { LiveRelease, RefreshResult } from '../../contract/refresh.ts';
import { fromUsd } from '../../domain/money.ts';
import type { endpointRefresh } from '../../workflows/index.ts';
import { recordRun } from '../replay/record-run.ts';
import { fakeActivities, JOB_RESULTS } from '../support/fake-activities.ts';
import { aPlan, aSpec } from '../support/specs.ts';
import { withPipeline, workflowTests } from '../support/time-skipping.ts';

const tests = workflowTests();

const plan = aPlan();
const { ablate, verify, publish } = JOB_RESULTS;
const MADE: LiveRelease = {
  run: {
    workflowId: 'pipeline/tiny',
    runId: 'maker',
    name: 'tiny',
    release: plan.release,
    installation: 'test',
    specHash: 'hash',
  },
  plan,
  ablate,
  verify,
  publish: { repo: 'anneal/tiny', commit: publish.commit, tag: 'r1', files: 9, bytes: 1 },
  spent: fromUsd(1.25),
  deploy: { endpointId: 'now', endpointName: 'anneal-test-tiny', templateId: 't' },
  headCommit: publish.commit,
  endpointExists: true,
  rowIsStale: false,
};

/** One night, after the run that made the release; with what was registered, and how many endpoints were made. */
async function refresh(
  live: Partial<LiveRelease>,
  changes: Partial<Activities> = {},
  name?: string,
): Promise<{ result: RefreshResult; registered: Parameters<Activities['registerModel']>[0][]; created: number }> {
  const registered: Parameters<Activities['registerModel']>[0][] = [];
  const { world, env } = tests;
  const activities = fakeActivities(world, {
    findLiveRelease: () => Promise.resolve({ ...MADE, ...live }),
    registerModel: (input) => {
      registered.push(input);
      return Promise.resolve({ modelId: 'm', deploymentId: 'd', updated: true, warnings: [] });
    },
    ...changes,
  });
  return withPipeline(env, activities, { spec: aSpec() }, async (handle) => {
    await handle.result();
    registered.length = 0;
    const before = world.count('createEndpoint');
    const night = await env.client.workflow.start<typeof endpointRefresh>('endpointRefresh', {
      workflowId: 'refresh/tiny',
      taskQueue: TASK_QUEUES.main,
      args: [{ name: 'tiny' }],
    });
    const result = await night.result();
    if (name !== undefined) await recordRun(name, night);
    return { result, registered, created: world.count('createEndpoint') - before };
  });
}

/** What a registration says of the run that made the release. */
const MAKER = {
  run: { runId: 'maker' },
  plan: { release: plan.release },
  spent: fromUsd(1.25),
  evaluation: { ablate: JOB_RESULTS.ablate, kl: 0.01 },
};

test('a refresh deploys a release again whose endpoint is gone, and the row keeps how it was made', async () => {
  const { result, registered } = await refresh({ endpointExists: false }, {}, 'endpoint-refresh');
  expect(result).toMatchObject({ action: 'redeployed', commit: publish.commit, register: { modelId: 'm' } });
  expect(tests.world.pods.size).toBe(0);
  expect([...tests.world.endpoints.values()]).toEqual(['anneal-test-tiny']);
  expect(registered).toHaveLength(1);
  expect(registered[0]).toMatchObject({ ...MAKER, deploy: { endpointName: 'anneal-test-tiny' } });
});

test('an endpoint that answers is left as it is, and so is its row', async () => {
  const asked: string[] = [];
  const { result, registered, created } = await refresh(
    {},
    {
      warmEndpoint: ({ endpointId }) => (asked.push(endpointId), Promise.resolve({ coldStartMs: 1, sawStates: [] })),
    },
  );
  expect(result).toMatchObject({ action: 'checked', register: null });
  expect([registered, created, asked.at(-1)]).toEqual([[], 0, 'now']);
});

test('a row that names another endpoint than the one that answers is mended, and nothing is deployed', async () => {
  const { result, registered, created } = await refresh({ rowIsStale: true });
  expect(result).toMatchObject({ action: 'checked', register: { updated: true } });
  expect(created).toBe(0);
  expect(registered).toMatchObject([{ ...MAKER, deploy: { endpointId: 'now', baseUrl: 'http://x/now/openai/v1' } }]);
});

test('an endpoint that does not answer as recorded gets its release again', async () => {
  let asked = 0;
  const ports = fakeActivities(tests.world);
  const { result, registered } = await refresh(
    {},
    {
      smokeEndpoint: async (input) => {
        const passed = await ports.smokeEndpoint(input);
        // Candidate and stable endpoint of the run, then the first look of the night.
        return ++asked === 3 ? { ...passed, kind: 'rejected' } : passed;
      },
    },
  );
  expect(result.action).toBe('redeployed');
  expect(registered).toMatchObject([MAKER]);
});

test('a run that publishes while the endpoint is tested is not undone', async () => {
  let looks = 0;
  let asked = 0;
  const ports = fakeActivities(tests.world);
  const night = refresh(
    {},
    {
      findLiveRelease: () => Promise.resolve({ ...MADE, headCommit: ++looks === 1 ? publish.commit : 'f'.repeat(40) }),
      smokeEndpoint: async (input) => {
        const passed = await ports.smokeEndpoint(input);
        return ++asked === 3 ? { ...passed, kind: 'rejected' } : passed;
      },
    },
  );
  await expect(night).rejects.toMatchObject({ cause: { type: 'ManifestMismatch' } });
  expect(looks).toBe(2);
  // Those of the run alone.
  expect(tests.world.count('createEndpoint')).toBe(2);
});
