import { expect } from '@jest/globals';
import { WorkflowFailedError } from '@temporalio/client';
import { cancelRun, resultOf, startRun, viewRun } from '../../client/pipelines.ts';
import type { PipelineSpecInput } from '../../contract/spec.ts';
import { fromUsd } from '../../domain/money.ts';
import { aSpec } from './specs.ts';
import { until, type TestWorld } from './local-world.ts';

/** What must hold of a run whichever of RunPod's APIs its worker speaks. */

/** A quick rehearsal under a name of its own. */
export const quick = (name: string, changes: Partial<PipelineSpecInput> = {}): ReturnType<typeof aSpec> =>
  aSpec({
    name,
    ablate: { trials: 4 },
    publish: { repo: `anneal/${name}` },
    serve: { gpus: ['ADA_80_PRO'], warmupDeadline: '2m', workers: { max: 1, idleTimeout: '2s' } },
    ...changes,
  });

/** Without serving: what concerns the pod only. */
export const podOnly = (name: string, changes: Partial<PipelineSpecInput> = {}): ReturnType<typeof aSpec> => {
  const { serve: _serve, ...spec } = quick(name, changes);
  return spec;
};

export const followed = (world: TestWorld, name: string, stage: string): Promise<boolean> =>
  until(async () => {
    const { progress, live } = await viewRun(world.client, name);
    return progress.activeJob?.stage === stage && (live?.offset ?? 0) > 0;
  }, `${name} follows ${stage}`);

type History = Awaited<ReturnType<ReturnType<TestWorld['client']['workflow']['getHandle']>['fetchHistory']>>;

/** From a Hub id to an answering, registered endpoint, inside the budget, with no secret in its history. */
export async function expectWholeRun(world: TestWorld, name: string): Promise<History> {
  const started = await startRun(world.client, quick(name));
  const result = await resultOf(world.client, started);
  expect(result.stages.map(({ state }) => state)).toEqual(Array(12).fill('completed'));
  const { publish, deploy, smoke, register, ablate } = result.outputs;
  const { measure } = ablate!.chosen;
  expect(measure).toMatchObject({ name: 'projection', outOf: null });
  expect(measure.chosen).toBeLessThan(measure.base / 2);
  expect(publish!.commit).toMatch(/^[0-9a-f]{40}$/);
  expect(smoke!.checks.every((check) => check.passed)).toBe(true);
  expect(smoke!.checks.map((check) => check.name)).toContain('long request');
  expect(result.spent).toBeGreaterThan(0);
  expect(result.spent).toBeLessThan(fromUsd(12));
  const row = await world.registry.findModel(null, name);
  expect(row).toMatchObject({ id: register!.modelId, modelId: `anneal/${name}`, baseUrl: deploy!.baseUrl });
  expect(row!.metadata).toMatchObject({ hub_commit: publish!.commit, training_job_id: started.runId });
  const history = await world.client.workflow.getHandle(started.workflowId, started.runId).fetchHistory();
  expect(history.events!.length).toBeLessThanOrEqual(250);
  const text = JSON.stringify(history);
  for (const secret of ['HF_TOKEN', 'RUNPOD_API_KEY', 'ANNEAL_MASTER_KEY', 'ANNEAL_DATABASE_URL']) {
    expect(text).not.toContain(world.world.env[secret]);
  }
  return history;
}

/** `create` is what fault rules call the create of a pod. */
export async function expectLostAnswerAdopted(world: TestWorld, create: string): Promise<void> {
  await world.fault({ target: 'runpod', operation: create, action: { kind: 'loseAnswer' } });
  const started = await startRun(world.client, podOnly('lost-answer', { ablate: { trials: 6, minTrialSeconds: 0.3 } }));
  await followed(world, 'lost-answer', 'ablate');
  const { pods } = await world.rented();
  expect(pods).toHaveLength(1);
  const { progress } = await viewRun(world.client, 'lost-answer');
  expect(progress.ids.podId).toBe(pods[0]!.id);
  await resultOf(world.client, started);
}

export async function expectCancelDuringCreate(world: TestWorld, create: string): Promise<void> {
  await world.fault({ target: 'runpod', operation: create, action: { kind: 'delay', ms: 3_000 } });
  const started = await startRun(world.client, podOnly('slow-create'));
  await world.untilMet(create);
  await cancelRun(world.client, 'slow-create', 'a test');
  await expect(resultOf(world.client, started)).rejects.toThrow(WorkflowFailedError);
  expect((await viewRun(world.client, 'slow-create')).status).toBe('CANCELLED');
}
