import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { WorkflowFailedError } from '@temporalio/client';
import { cancelRun, resultOf, startRun, viewRun } from '../../client/pipelines.ts';
import { fromUsd } from '../../domain/money.ts';
import type { PipelineSpecInput } from '../../contract/spec.ts';
import { aSpec } from '../support/specs.ts';
import { recordHistory } from '../support/record-history.ts';
import { required } from '../support/required.ts';
import { specFile, TestWorld, until } from '../support/local-world.ts';

let world: TestWorld;
const stable: string[] = [];

beforeAll(async () => {
  world = await TestWorld.start();
}, 120_000);
afterEach(async () => {
  await world.clearFaults();
  await world.expectNothingRented(stable);
});
afterAll(() => world.stop());

/** A quick rehearsal under a name of its own. */
const quick = (name: string, changes: Partial<PipelineSpecInput> = {}): ReturnType<typeof aSpec> =>
  aSpec({
    name,
    ablate: { trials: 4 },
    publish: { repo: `anneal/${name}` },
    serve: { gpus: ['ADA_80_PRO'], warmupDeadline: '2m', workers: { max: 1, idleTimeout: '2s' } },
    ...changes,
  });

/** Without serving: what concerns the pod only. */
const podOnly = (name: string, changes: Partial<PipelineSpecInput> = {}): ReturnType<typeof aSpec> => {
  const { serve: _serve, ...spec } = quick(name, changes);
  return spec;
};

const followed = (name: string, stage: string): Promise<boolean> =>
  until(async () => {
    const { progress, live } = await viewRun(world.client, name);
    return progress.activeJob?.stage === stage && (live?.offset ?? 0) > 0;
  }, `${name} follows ${stage}`);

/** How often the supervisor really started a job, as the job's own log of events says. */
async function startsOf(runId: string): Promise<number> {
  const output = await world.registry.loadCheckpoint(runId, 'ablate', 'ablate.tar');
  return output
    ? (
        Buffer.from(output.bytes)
          .toString('latin1')
          .match(/"index": ?1[,}]/g) ?? []
      ).length
    : 0;
}

test('takes a model from its Hub id to an answering, registered endpoint, inside its budget', async () => {
  stable.push('anneal-local-whole');
  const started = await startRun(world.client, quick('whole'));
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
  const row = await world.registry.findModel(null, 'whole');
  expect(row).toMatchObject({ id: register!.modelId, modelId: 'anneal/whole', baseUrl: deploy!.baseUrl });
  expect(row!.metadata).toMatchObject({ hub_commit: publish!.commit, training_job_id: started.runId });
  const history = await world.client.workflow.getHandle(started.workflowId, started.runId).fetchHistory();
  expect(history.events!.length).toBeLessThanOrEqual(250);
  await recordHistory('success', history);
  const text = JSON.stringify(history);
  for (const secret of ['HF_TOKEN', 'RUNPOD_API_KEY', 'ANNEAL_MASTER_KEY', 'ANNEAL_DATABASE_URL']) {
    expect(text).not.toContain(world.world.env[secret]);
  }
});

test('a second run of the same model replaces the release behind the same endpoint and the same row', async () => {
  const before = await world.registry.findModel(null, 'whole');
  const result = await resultOf(
    world.client,
    await startRun(world.client, quick('whole', { ablate: { trials: 4, seed: 7 } })),
  );
  const after = await world.registry.findModel(null, 'whole');
  expect(result.outputs.register!.updated).toBe(true);
  expect(after!.id).toBe(before!.id);
  expect(after!.baseUrl).toBe(before!.baseUrl);
  expect(after!.metadata).not.toEqual(before!.metadata);
});

test('a killed worker changes nothing: the job is followed on, not started again, and the run completes', async () => {
  const started = await startRun(world.client, podOnly('killed', { ablate: { trials: 12, minTrialSeconds: 0.5 } }));
  await followed('killed', 'ablate');
  await world.killWorker();
  const [pod] = (await world.rented()).pods;
  expect(pod!.processes.length).toBeGreaterThan(0);
  await world.startWorker();
  const result = await resultOf(world.client, started);
  expect(result.outputs.ablate!.trialsCompleted).toBe(12);
  expect(await startsOf(started.runId)).toBe(1);
  expect(result.stages.find(({ stage }) => stage === 'publish')!.state).toBe('completed');
});

test('when the answer to create is lost there is one pod, and it is used', async () => {
  await world.fault({ target: 'runpod', operation: 'podFindAndDeployOnDemand', action: { kind: 'loseAnswer' } });
  const started = await startRun(world.client, podOnly('lost-answer', { ablate: { trials: 6, minTrialSeconds: 0.3 } }));
  await followed('lost-answer', 'ablate');
  const { pods } = await world.rented();
  expect(pods).toHaveLength(1);
  const { progress } = await viewRun(world.client, 'lost-answer');
  expect(progress.ids.podId).toBe(pods[0]!.id);
  await resultOf(world.client, started);
});

test('a cancel during a slow create leaves no pod', async () => {
  await world.fault({ target: 'runpod', operation: 'podFindAndDeployOnDemand', action: { kind: 'delay', ms: 3_000 } });
  const started = await startRun(world.client, podOnly('slow-create'));
  await until(
    async () => (await viewRun(world.client, 'slow-create')).progress.stages[1]!.state === 'running',
    'provision runs',
  );
  await cancelRun(world.client, 'slow-create', 'a test');
  await expect(resultOf(world.client, started)).rejects.toThrow(WorkflowFailedError);
  expect((await viewRun(world.client, 'slow-create')).status).toBe('CANCELLED');
});

test('a pod that is taken away in mid-ablate is replaced by another GPU type, and the ablation goes on at its next trial', async () => {
  const [H100, A100] = ['NVIDIA H100 80GB HBM3', 'NVIDIA A100-SXM4-80GB'] as const;
  const ablate = { trials: 12, minTrialSeconds: 0.5 };
  const started = await startRun(world.client, podOnly('taken', { ablate, compute: { gpus: [H100, A100] } }));
  await followed('taken', 'ablate');
  await until(
    async () => (await world.registry.loadCheckpoint(started.runId, 'ablate', 'ablate.tar')) ?? undefined,
    'a checkpoint',
  );
  const [first] = (await world.rented()).pods;
  await world.setStock(H100, 'None');
  await world.takePodAway(first!.id);
  const result = await resultOf(world.client, started);
  await world.setStock(H100, 'High');
  expect(result.outputs.ablate!.trialsCompleted).toBe(12);
  expect(await startsOf(started.runId)).toBe(1);
  expect(result.outputs.provision).toMatchObject({ gpuTypeId: A100, tried: [`${H100} (SECURE): no stock`] });
});

test('failing reads and lagging lists of the provider, and a busy Hub, do not fail a run', async () => {
  // Beyond plan's own reads, so that the pod meets it too.
  await world.fault({ target: 'hub', operation: '*', action: { kind: 'status', status: 503 }, after: 12, times: 3 });
  await world.fault({ target: 'runpod', operation: 'pod', action: { kind: 'status', status: 502 }, times: 2 });
  await world.fault({ target: 'runpod', operation: 'myself.pods', action: { kind: 'lagList', ms: 1_500 }, times: 5 });
  const result = await resultOf(world.client, await startRun(world.client, podOnly('flaky')));
  expect(result.outputs.publish!.commit).toMatch(/^[0-9a-f]{40}$/);
});

test('the budget stops an ablation in time, keeps its checkpoint and ends as BudgetExceeded under the cap', async () => {
  // An H100 at about 4 USD an hour; the reserve for stopping (3 minutes) leaves some seconds of work.
  const spec = podOnly('poor', {
    ablate: { trials: 200, minTrialSeconds: 0.5 },
    budget: { capUsd: 0.21, grace: '1s' },
  });
  const started = await startRun(world.client, spec);
  const error = await resultOf(world.client, started).then(
    () => undefined,
    (failure: unknown) => failure as WorkflowFailedError,
  );
  expect(error?.cause).toMatchObject({ type: 'BudgetExceeded' });
  const view = await viewRun(world.client, 'poor');
  expect(view.progress.spend.recorded).toBeLessThanOrEqual(fromUsd(0.21));
  expect(await world.registry.loadCheckpoint(started.runId, 'ablate', 'ablate.tar')).not.toBeNull();
});

test('a run may be started by the temporal CLI with a JSON file', async () => {
  const file = await specFile(world.world.stateDir, 'by-cli', {
    spec: { ...podOnly('by-cli'), ablate: { trials: 2 } },
  });
  const temporal = (...args: string[]): Promise<{ stdout: string }> =>
    promisify(execFile)(required('TEMPORAL_CLI_PATH'), [
      ...args,
      '--address',
      world.world.env['TEMPORAL_ADDRESS'] ?? '',
    ]);
  const base = ['--task-queue', 'anneal', '--type', 'modelPipeline', '--input-file', file];
  await temporal('workflow', 'start', ...base, '--workflow-id', 'pipeline/by-cli');
  const result = await resultOf(world.client, { workflowId: 'pipeline/by-cli', runId: '' });
  expect(result.outputs.publish!.repo).toBe('anneal/by-cli');
  await temporal('workflow', 'start', ...base, '--workflow-id', 'somewhere/else');
  await expect(resultOf(world.client, { workflowId: 'somewhere/else', runId: '' })).rejects.toMatchObject({
    cause: { type: 'InvalidSpec' },
  });
});
