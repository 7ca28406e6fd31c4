import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type { WorkflowFailedError } from '@temporalio/client';
import { resultOf, startRun, viewRun } from '../../client/pipelines.ts';
import { fromUsd } from '../../domain/money.ts';
import {
  expectCancelDuringCreate,
  expectLostAnswerAdopted,
  expectWholeRun,
  followed,
  podOnly,
  quick,
} from '../support/main-path.ts';
import { recordHistory } from '../support/record-history.ts';
import { required } from '../support/required.ts';
import { specFile, TestWorld, until } from '../support/local-world.ts';

/** What GraphQL calls the create of a pod. Under REST v2: runpod-v2.test.ts. */
const CREATE = 'podFindAndDeployOnDemand';

let world: TestWorld;
const stable: string[] = [];

beforeAll(async () => {
  world = await TestWorld.start();
});
afterEach(async () => {
  await world.clearFaults();
  await world.expectNothingRented(stable);
});
afterAll(() => world.stop());

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
  await recordHistory('success', await expectWholeRun(world, 'whole'));
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
  await followed(world, 'killed', 'ablate');
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
  await expectLostAnswerAdopted(world, CREATE);
});

test('a cancel during a slow create leaves no pod', async () => {
  await expectCancelDuringCreate(world, CREATE);
});

test('a pod that is taken away in mid-ablate is replaced by another GPU type, and the ablation goes on at its next trial', async () => {
  const [H100, A100] = ['NVIDIA H100 80GB HBM3', 'NVIDIA A100-SXM4-80GB'] as const;
  const ablate = { trials: 12, minTrialSeconds: 0.5 };
  const started = await startRun(world.client, podOnly('taken', { ablate, compute: { gpus: [H100, A100] } }));
  await followed(world, 'taken', 'ablate');
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
  // Who waits for a pod, or follows it, reads the list; beyond the first, so that the pod is there.
  const list = { target: 'runpod', operation: 'myself.pods' } as const;
  await world.fault({ ...list, action: { kind: 'status', status: 502 }, after: 1, times: 2 });
  await world.fault({ ...list, action: { kind: 'lagList', ms: 1_500 }, times: 5 });
  // That it is gone in the end is asked of the pod itself.
  await world.fault({ target: 'runpod', operation: 'pod', action: { kind: 'status', status: 502 }, times: 2 });
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
