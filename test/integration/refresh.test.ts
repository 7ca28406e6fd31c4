import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { resultOf, startRun } from '../../client/pipelines.ts';
import {
  deleteSchedule,
  ensureSchedule,
  listSchedules,
  ScheduleUnknown,
  triggerSchedule,
} from '../../client/schedules.ts';
import { parseSchedules, type ScheduleSpec } from '../../contract/schedules.ts';
import type { RefreshResult } from '../../contract/refresh.ts';
import { createRunPodGraphql } from '../../services/runpod/graphql.ts';
import { aSpec } from '../support/specs.ts';
import { TestWorld, until } from '../support/local-world.ts';

let world: TestWorld;

beforeAll(async () => {
  world = await TestWorld.start();
  const spec = aSpec({
    name: 'nightly',
    ablate: { trials: 2 },
    publish: { repo: 'anneal/nightly' },
    serve: { gpus: ['ADA_80_PRO'], warmupDeadline: '2m', workers: { max: 1, idleTimeout: '2s' } },
  });
  await resultOf(world.client, await startRun(world.client, spec));
});
afterAll(() => world.stop());

function nightly(): ScheduleSpec {
  const parsed = parseSchedules({
    schedules: [{ id: 'nightly', workflow: 'endpointRefresh', model: 'nightly', cron: '0 3 * * *' }],
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.faults));
  return parsed.schedules[0]!;
}

/** Fires the schedule and waits for what it started. */
async function fire(): Promise<RefreshResult> {
  const handle = world.client.schedule.getHandle('anneal/nightly');
  const before = (await handle.describe()).info.recentActions.length;
  await triggerSchedule(world.client, 'nightly');
  const started = await until(async () => {
    const { recentActions } = (await handle.describe()).info;
    return recentActions.length > before ? recentActions.at(-1) : undefined;
  }, 'the schedule fires');
  const { action } = started as { action: { workflow: { workflowId: string } } };
  return world.client.workflow.getHandle(action.workflow.workflowId).result() as Promise<RefreshResult>;
}

test('ensuring a schedule twice makes one, with overlap and catch-up window stated', async () => {
  expect(await ensureSchedule(world.client, nightly())).toBe('created');
  expect(await ensureSchedule(world.client, nightly())).toBe('updated');
  const { policies } = await world.client.schedule.getHandle('anneal/nightly').describe();
  expect(policies).toMatchObject({ overlap: 'SKIP', catchupWindow: 3_600_000 });
  await until(async () => (await listSchedules(world.client)).some(({ id }) => id === 'nightly'), 'it is listed');
});

test('an unchanged release on a healthy endpoint is tested only', async () => {
  expect(await fire()).toMatchObject({ action: 'checked', register: null });
});

/** What the registry row says of how the release was made. */
const madeBy = (row: { metadata: unknown } | null): unknown => {
  const { training_job_id, release, evaluation, build_cost_usd } = row!.metadata as Record<string, unknown>;
  return { training_job_id, release, evaluation, build_cost_usd };
};

test('an endpoint that is gone is deployed again from the published commit, into the same row', async () => {
  const before = await world.registry.findModel(null, 'nightly');
  const { RUNPOD_API_URL: apiUrl = '', RUNPOD_API_KEY: apiKey = '' } = world.world.env;
  const runpod = createRunPodGraphql({ apiUrl, apiKey });
  for (const { id } of await runpod.listEndpoints()) await runpod.deleteEndpoint(id);
  expect(await fire()).toMatchObject({ action: 'redeployed' });
  const after = await world.registry.findModel(null, 'nightly');
  expect(after!.id).toBe(before!.id);
  expect(after!.baseUrl).not.toBe(before!.baseUrl);
  expect(madeBy(before)).toMatchObject({ evaluation: { ablate: { trialsCompleted: 2 } } });
  expect(madeBy(before)).toMatchObject({ build_cost_usd: expect.any(Number) });
  expect(madeBy(after)).toEqual(madeBy(before));
  await world.expectNothingRented(['anneal-local-nightly']);
});

test('the night after that it is only tested again', async () => {
  const before = await world.registry.findModel(null, 'nightly');
  expect(await fire()).toMatchObject({ action: 'checked', register: null });
  expect(await world.registry.findModel(null, 'nightly')).toEqual(before);
});

test('a deleted schedule is unknown afterwards', async () => {
  await deleteSchedule(world.client, 'nightly');
  await expect(triggerSchedule(world.client, 'nightly')).rejects.toThrow(ScheduleUnknown);
});
