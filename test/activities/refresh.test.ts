import { describe, expect, test } from '@jest/globals';
import type { Json } from '../../contract/json.ts';
import { fromUsd } from '../../domain/money.ts';
import type { RegisteredModel } from '../../services/registry/port.ts';
import { JOB_RESULTS } from '../support/fake-activities.ts';
import { activityWorld, RUN, type ActivityWorld } from '../support/fake-ports-activity.ts';
import { aPlan, aSpec } from '../support/specs.ts';

const COMMIT = 'c'.repeat(40);
const publish = { repo: 'anneal/tiny', commit: COMMIT, tag: 'r1', files: 9, bytes: 1 };
const recorded = {
  endpointId: 'first',
  endpointName: 'anneal-test-tiny',
  templateId: 't',
  baseUrl: 'b',
  gpuPools: 'g',
};

/** A world in which a run has completed, and the provider lists these endpoints. */
function afterRun(outputs: object = {}, listed: { id: string; name: string }[] = []): ActivityWorld {
  const world = activityWorld();
  const { ablate, verify } = JOB_RESULTS;
  world.registry.completed = {
    runId: RUN.runId,
    workflowId: RUN.workflowId,
    spentMicroUsd: fromUsd(1.25),
    outputs: { plan: aPlan(), ablate, verify, publish, deploy: recorded, ...outputs } as unknown as Record<
      string,
      Json
    >,
  };
  world.hub.head = COMMIT;
  for (const endpoint of listed) world.endpoints.addEndpoint(endpoint);
  return world;
}

const registered = (endpointId: Json): RegisteredModel => ({
  id: 'm',
  userId: null,
  name: 'tiny',
  modelId: 'anneal/tiny',
  baseUrl: '',
  servedModelName: 'tiny',
  metadata: { runpod_endpoint_id: endpointId },
  createdAt: '',
  updatedAt: '',
});

const LISTED = [
  { id: 'candidate', name: 'anneal-test-tiny-r20260101-000000' },
  { id: 'now', name: 'anneal-test-tiny' },
];

describe('what is known of a live release', () => {
  test('its endpoint is the one that has its name now, whatever id the run recorded', async () => {
    const { run } = afterRun({}, LISTED);
    expect(await run('findLiveRelease', { name: 'tiny' })).toMatchObject({
      endpointExists: true,
      deploy: { endpointId: 'now', templateId: 'template-old' },
      headCommit: COMMIT,
    });
  });

  test('without one it is gone', async () => {
    const { run } = afterRun({}, LISTED.slice(0, 1));
    expect(await run('findLiveRelease', { name: 'tiny' })).toMatchObject({ endpointExists: false, rowIsStale: false });
  });

  test('it carries what the run that made it has cost and measured', async () => {
    const { run } = afterRun();
    const live = await run('findLiveRelease', { name: 'tiny' });
    expect(live).toMatchObject({ run: RUN, spent: fromUsd(1.25), ablate: JOB_RESULTS.ablate });
  });

  test('a stage that did not run has left no output', async () => {
    const { run } = afterRun({ ablate: null });
    expect(await run('findLiveRelease', { name: 'tiny' })).toMatchObject({ ablate: null });
    expect(await afterRun({ publish: null }).run('findLiveRelease', { name: 'tiny' })).toBeNull();
  });

  test.each<[string, RegisteredModel | null, boolean]>([
    ['that names this endpoint', registered('now'), false],
    ['that names another one', registered('first'), true],
    ['in which somebody has changed that', registered(null), false],
    ['that is gone', null, false],
  ])('a row %s', async (_what, row, rowIsStale) => {
    const { run, registry } = afterRun({}, LISTED);
    registry.row = row;
    expect(await run('findLiveRelease', { name: 'tiny' })).toMatchObject({ rowIsStale });
  });

  test('a model that is not registered has no row to mend', async () => {
    const { run, registry } = afterRun({ plan: aPlan(aSpec({ register: { enabled: false } })) }, LISTED);
    registry.row = registered('first');
    expect(await run('findLiveRelease', { name: 'tiny' })).toMatchObject({ rowIsStale: false });
  });
});
