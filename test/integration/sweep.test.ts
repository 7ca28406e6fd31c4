import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import postgres from 'postgres';
import { startRun, viewRun, type StartedRun } from '../../client/pipelines.ts';
import { TASK_QUEUES } from '../../contract/names.ts';
import type { SweepReport } from '../../contract/sweep.ts';
import type { PipelineSpec } from '../../contract/spec.ts';
import { createRunPodGraphql } from '../../services/runpod/graphql.ts';
import type { sweep } from '../../workflows/index.ts';
import { runCli } from '../support/cli.ts';
import { TestWorld, until } from '../support/local-world.ts';
import { createPod, podRequest } from '../support/runpod-world.ts';
import { aSpec } from '../support/specs.ts';

let world: TestWorld;
let cwd: string;

beforeAll(async () => {
  world = await TestWorld.start();
  cwd = await mkdtemp(join(tmpdir(), 'anneal-sweep-'));
});
afterAll(async () => {
  await rm(cwd, { recursive: true, force: true });
  await world.stop();
});

/** `anneal sweep` as cron starts it. */
async function runSweep(
  args: string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<SweepReport & { exitCode: number | null; stderr: string }> {
  const result = await runCli(['sweep', '--once', '--json', ...args], {
    cwd,
    env: { ...world.env, ANNEAL_SWEEP_MIN_AGE: '1s', ...env },
  });
  expect([result.stderr, result.stdout]).toEqual([result.stderr, expect.stringContaining('"looked"')]);
  return { ...(JSON.parse(result.stdout) as SweepReport), exitCode: result.exitCode, stderr: result.stderr };
}

/** A run that is in the middle of a long ablation, and its pod. */
async function inAblate(name: string): Promise<{ started: StartedRun; podId: string }> {
  const { serve: _serve, ...spec } = aSpec({
    name,
    ablate: { trials: 500, minTrialSeconds: 0.5 },
    publish: { repo: `anneal/${name}` },
  });
  const started = await startRun(world.client, spec satisfies PipelineSpec);
  await until(
    async () => (await viewRun(world.client, name)).progress.activeJob?.stage === 'ablate',
    `${name} ablates`,
  );
  const pod = (await world.rented()).pods.find((row) => row.name.startsWith(`anneal-local-${name}-`));
  return { started, podId: pod!.id };
}

/** Binds the installation to another namespace; returns the id that the worker bound it to. */
async function rebind(namespaceId: string): Promise<string> {
  const sql = postgres(world.env['ANNEAL_DATABASE_URL'] ?? '', { max: 1 });
  const bound = await world.registry.boundNamespace(world.env['ANNEAL_INSTALLATION'] ?? '');
  await sql`update anneal.installation set namespace_id = ${namespaceId}`;
  await sql.end();
  return bound ?? '';
}

const idsOf = (rows: { id: string }[]): string[] => rows.map(({ id }) => id);
const rentedPods = async (): Promise<string[]> => idsOf((await world.rented()).pods);

test('an open run keeps its pod, a terminated one loses it at the second sweep, other installations keep theirs', async () => {
  const runpod = createRunPodGraphql({
    apiUrl: world.env['RUNPOD_API_URL'] ?? '',
    apiKey: world.env['RUNPOD_API_KEY'] ?? '',
  });
  const foreign = await createPod(runpod, podRequest('anneal-other-x-r20260101-000000'));
  const { started, podId } = await inAblate('swept');

  await runSweep();
  const whileOpen = await runSweep();
  expect(whileOpen).toMatchObject({ exitCode: 0, ended: [], failures: [], stderr: '' });
  expect(whileOpen.kept).toMatchObject([{ id: podId, reason: 'its run is open' }]);
  expect(whileOpen.reported).toMatchObject([{ id: foreign.id, reason: 'belongs to another installation' }]);

  const byWorker = await world.client.workflow.execute<typeof sweep>('sweep', {
    workflowId: 'sweep',
    taskQueue: TASK_QUEUES.main,
    args: [{}],
  });
  expect(byWorker.kept).toMatchObject([{ id: podId, reason: 'its run is open' }]);

  await world.client.workflow.getHandle(started.workflowId, started.runId).terminate('a test');
  // As if the account's books belonged to another server: this one's word that the run has ended does not count.
  const own = await rebind('of-another-server');
  for (let sweeps = 0; sweeps < 2; sweeps++) {
    expect(await runSweep()).toMatchObject({
      exitCode: 1,
      ended: [],
      kept: [{ id: podId }],
      failures: [{ error: expect.stringContaining(`connected server has id ${own}`) }],
    });
  }
  await rebind(own);
  const first = await runSweep();
  expect(idsOf(first.kept)).toEqual([podId]);
  expect(first.kept[0]!.reason).toContain('its run has ended; seen so for the first time');
  // Dry runs say when it is due, and change nothing however often they look.
  await until(async () => idsOf((await runSweep(['--dry-run'])).ended).includes(podId), 'a dry run would end it');
  expect(await rentedPods()).toContain(podId);
  const last = await runSweep();
  expect(last).toMatchObject({ exitCode: 0, ended: [{ id: podId }], failures: [] });
  expect(await rentedPods()).toEqual([foreign.id]);
  expect(await world.registry.openHoldings()).toEqual([]);
  await runpod.terminatePod(foreign.id);
});

test('without Temporal a pod stays until its hard deadline is past, and then goes', async () => {
  const { started, podId } = await inAblate('deadline');
  await world.client.workflow.getHandle(started.workflowId, started.runId).terminate('a test');
  const away = { TEMPORAL_ADDRESS: '127.0.0.1:1' };

  const kept = await runSweep([], away);
  expect(kept.stderr).toContain('Temporal does not answer at 127.0.0.1:1');
  expect(kept).toMatchObject({ exitCode: 0, ended: [], kept: [{ id: podId }] });

  const sql = postgres(world.env['ANNEAL_DATABASE_URL'] ?? '', { max: 1 });
  await sql`update anneal.holdings set hard_deadline = now() - interval '1 minute' where provider_id = ${podId}`;
  await sql.end();
  const dry = await runSweep(['--dry-run'], away);
  expect(dry.ended).toMatchObject([{ id: podId }]);
  expect(await rentedPods()).toEqual([podId]);

  await world.fault({ target: 'runpod', operation: 'podTerminate', action: { kind: 'status', status: 500 }, times: 1 });
  const refused = await runSweep([], away);
  expect(refused).toMatchObject({ exitCode: 1, ended: [], failures: [{ id: podId }] });
  const done = await runSweep([], away);
  expect(done).toMatchObject({ exitCode: 0, failures: [] });
  expect(done.ended[0]!.reason).toContain('past its hard deadline');
  expect(await rentedPods()).toEqual([]);
});
