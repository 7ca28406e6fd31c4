import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { WorkflowFailedError } from '@temporalio/client';
import postgres from 'postgres';
import { resultOf, startRun, viewRun, type StartedRun } from '../../client/pipelines.ts';
import type { PipelineSpec, PipelineSpecInput } from '../../contract/spec.ts';
import type { SweepReport } from '../../contract/sweep.ts';
import { fromUsd } from '../../domain/money.ts';
import { readRecord, type WorldProcess } from '../../local/world-record.ts';
import { runCli } from '../support/cli.ts';
import { TestWorld, until } from '../support/local-world.ts';
import { required } from '../support/required.ts';
import { aSpec } from '../support/specs.ts';

/**
 * Each belt with the other two taken away, over real SSH, Postgres and processes. Elsewhere: a run that is terminated is
 * ended by two sweeps (test/integration/sweep.test.ts); every deadline of the switch by itself (test/contract/deadman.test.ts);
 * the workflow's own timers (test/workflows/belts.test.ts).
 */

type View = Awaited<ReturnType<TestWorld['rented']>>['pods'][number];

let world: TestWorld;
let cwd: string;

beforeAll(async () => {
  world = await TestWorld.start();
  cwd = await mkdtemp(join(tmpdir(), 'anneal-belts-'));
  Object.assign(world.env, { ANNEAL_QUIET_PERIOD: '3s' });
});
afterEach(async () => {
  await world.clearFaults();
  await world.expectNothingRented();
  expect(await world.registry.openHoldings()).toEqual([]);
});
afterAll(async () => {
  await rm(cwd, { recursive: true, force: true });
  await world.stop();
});

/** The pod's part only, in mid-ablation for as long as a test may want. */
function long(name: string, changes: Partial<PipelineSpecInput> = {}): PipelineSpec {
  const { serve: _serve, ...spec } = aSpec({
    name,
    ablate: { trials: 500, minTrialSeconds: 0.5 },
    publish: { repo: `anneal/${name}` },
    ...changes,
  });
  return spec;
}

const podsOf = async (name: string): Promise<View[]> =>
  (await world.rented()).pods.filter((pod) => pod.name.startsWith(`anneal-local-${name}-`));

/** Starts a run and waits until its ablation is followed; its pod. */
async function ablating(
  spec: PipelineSpec,
  options: { until?: 'ablate' } = {},
): Promise<{ started: StartedRun; pod: View }> {
  const started = await startRun(world.client, spec, options);
  await until(async () => {
    const { progress, live } = await viewRun(world.client, spec.name);
    return progress.activeJob?.stage === 'ablate' && (live?.offset ?? 0) > 0;
  }, `${spec.name} ablates`);
  const [pod] = await podsOf(spec.name);
  return { started, pod: pod! };
}

/** `anneal sweep --once` as cron starts it; whatever is stopped or unheld is due at once. */
async function sweep(env: NodeJS.ProcessEnv = {}): Promise<SweepReport> {
  const due = { ANNEAL_SWEEP_MIN_AGE: '1s', ANNEAL_SWEEP_STOPPED_AFTER: '1s' };
  const { stdout, stderr } = await runCli(['sweep', '--once', '--json'], {
    cwd,
    env: { ...world.env, ...due, ...env },
  });
  expect([stderr, stdout]).toEqual([stderr, expect.stringContaining('"looked"')]);
  return JSON.parse(stdout) as SweepReport;
}

const sweepUntilGone = (name: string): Promise<boolean> =>
  until(async () => {
    await sweep();
    return (await podsOf(name)).length === 0;
  }, `sweeps end what ${name} rented`);

/** As if the run's money had lasted until now. */
async function deadlineIsPast(podName: string): Promise<void> {
  const sql = postgres(world.env['ANNEAL_DATABASE_URL'] ?? '', { max: 1 });
  const rows = await sql`
    update anneal.holdings set hard_deadline = now() - interval '1 minute' where name = ${podName} returning name`;
  await sql.end();
  expect(rows).toHaveLength(1);
}

/** Which pods the run's ledger charges for. */
async function chargedPods(runId: string): Promise<string[]> {
  const sql = postgres(world.env['ANNEAL_DATABASE_URL'] ?? '', { max: 1 });
  const rows = await sql<{ resource_id: string }[]>`
    select resource_id from anneal.ledger
    where run_id = ${runId} and resource = 'pod' and amount_micro_usd > 0 and ended_at is not null`;
  await sql.end();
  return rows.map((row) => row.resource_id).sort();
}

/** A worker with other settings, or other code. */
async function restartWorker(env: NodeJS.ProcessEnv = {}, bundle = required('ANNEAL_TEST_BUNDLE')): Promise<void> {
  const [settings, whole] = [{ ...world.env }, process.env['ANNEAL_TEST_BUNDLE']];
  await world.killWorker();
  try {
    Object.assign(world.env, env);
    process.env['ANNEAL_TEST_BUNDLE'] = bundle;
    await world.startWorker();
  } finally {
    process.env['ANNEAL_TEST_BUNDLE'] = whole;
    for (const name of Object.keys(env)) world.env[name] = settings[name];
  }
}

/** So that a run may be poor: three minutes of stopping cost 0.20 USD. */
const SHORT_RESERVE = { ANNEAL_CHECKPOINT_LIMIT: '1s', ANNEAL_TERMINATE_ALLOWANCE: '1s' };

/** A part of the world, to be killed or frozen by its id. */
async function pidOf(component: WorldProcess): Promise<number> {
  const record = await readRecord(world.world.stateDir);
  const found = record?.processes.find((entry) => entry.component === component);
  if (!found) throw new Error(`no ${component} in this world`);
  return found.identity.pid;
}

/** Local ports of established connections to a port of this machine. */
async function connectionsTo(port: number): Promise<number[]> {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const rows = (await readFile('/proc/net/tcp', 'utf8')).split('\n').map((line) => line.trim().split(/\s+/));
  return rows
    .filter(([, , remote, state]) => remote?.endsWith(`:${hex}`) && state === '01')
    .map(([, local]) => parseInt(local?.split(':')[1] ?? '', 16));
}

/** How often the first trial was made, as the journal in the last checkpoint says. */
async function firstTrials(runId: string): Promise<number> {
  const saved = await world.registry.loadCheckpoint(runId, 'ablate', 'ablate.tar');
  return (
    Buffer.from(saved?.bytes ?? [])
      .toString('latin1')
      .match(/"index": ?1[,}]/g)?.length ?? 0
  );
}

test('the switch alone: a worker that never comes back, no sweep, and the pod stops burning when its lease is over', async () => {
  await restartWorker({ ANNEAL_LEASE: '5s' });
  const { started, pod } = await ablating(long('leased'));
  await world.killWorker();
  await until(async () => {
    const [left] = await podsOf('leased');
    // What it has made since the last copy is kept: its disk stays, nothing runs.
    return left === undefined || (left.desiredStatus === 'EXITED' && left.processes.length === 0);
  }, 'the switch ends the pod');
  expect(await podsOf('leased')).toMatchObject([{ id: pod.id, desiredStatus: 'EXITED' }]);
  // Nor is the disk paid for ever.
  await world.client.workflow.getHandle(started.workflowId, started.runId).terminate('a test');
  await sweepUntilGone('leased');
});

test('the sweep alone: a deploy whose workflow task fails for ever; the deadline counts although the run is open', async () => {
  await restartWorker();
  const { started, pod } = await ablating(long('bad-deploy'));
  const code = await readFile(required('ANNEAL_TEST_BUNDLE'), 'utf8');
  const start = 'async function modelPipeline(given) {';
  const broken = code.replace(start, `${start} throw new TypeError('a bad deploy');`);
  expect(broken).not.toBe(code);
  const bundle = join(cwd, 'broken-bundle.js');
  await writeFile(bundle, broken);
  await restartWorker({}, bundle);
  const handle = world.client.workflow.getHandle(started.workflowId, started.runId);
  // A cancel is what a person would try; it cannot be heard either.
  await handle.cancel();
  await until(async () => {
    const { events } = await handle.fetchHistory();
    return events?.some((event) => event.workflowTaskFailedEventAttributes?.failure?.message?.includes('a bad deploy'));
  }, 'its workflow task fails');

  const before = await sweep();
  expect(before).toMatchObject({ ended: [], kept: [{ id: pod.id, reason: 'its run is open' }] });
  await deadlineIsPast(pod.name);
  const after = await sweep();
  expect(after).toMatchObject({ ended: [{ id: pod.id }], failures: [] });
  expect(after.ended[0]!.reason).toContain('though its run is open');
  expect((await handle.describe()).status.name).toBe('RUNNING');

  // The good code comes back and hears the cancel.
  await restartWorker();
  await expect(resultOf(world.client, started)).rejects.toThrow(WorkflowFailedError);
  expect((await handle.describe()).status.name).toBe('CANCELLED');
});

test('a cut network: the follower comes back to a job that went on without it, and nothing is made twice', async () => {
  const { started, pod } = await ablating(long('cut', { ablate: { trials: 30, minTrialSeconds: 0.5 } }), {
    until: 'ablate',
  });
  const simulators = await pidOf('simulators');
  const cut = await connectionsTo(pod.sshPort!);
  expect(cut.length).toBeGreaterThan(0);
  // Neither pod nor provider answers, and no connection is closed; the job is a process of its own.
  process.kill(simulators, 'SIGSTOP');
  try {
    const givenUp = async (): Promise<boolean> => {
      const now = await connectionsTo(pod.sshPort!);
      return cut.every((port) => !now.includes(port));
    };
    // A copy of the checkpoint that was under way is waited for longest, for two minutes.
    await until(givenUp, 'the worker gives up its silent connections', 150_000);
  } finally {
    process.kill(simulators, 'SIGCONT');
  }
  const result = await resultOf(world.client, started);
  expect(result.outputs.ablate?.trialsCompleted).toBe(30);
  expect(result.outputs.provision?.podId).toBe(pod.id);
  expect(await firstTrials(started.runId)).toBe(1);
  expect(await chargedPods(started.runId)).toEqual([pod.id]);
});

test('two creates without an answer, under lists that lag: one pod is used, the two others are ended and paid for', async () => {
  // The list shows a pod only after the quiet period (3 s), so that each create counts as lost.
  const list = { target: 'runpod', operation: 'myself.pods', action: { kind: 'lagList', ms: 4_500 } } as const;
  await world.fault({ ...list, times: 1_000 });
  const create = { target: 'runpod', operation: 'podFindAndDeployOnDemand' } as const;
  await world.fault({ ...create, action: { kind: 'loseAnswer' }, times: 2 });
  const started = await startRun(world.client, long('lost', { ablate: { trials: 2 } }), { until: 'ablate' });
  const made = new Set<string>();
  await until(async () => {
    for (const pod of await podsOf('lost')) made.add(pod.id);
    return made.size === 3;
  }, 'three pods are made');
  const result = await resultOf(world.client, started);
  const used = result.outputs.provision!;
  expect(used.podName).toMatch(/-a3$/);
  expect(made.has(used.podId)).toBe(true);
  expect(await podsOf('lost')).toEqual([]);
  expect(await chargedPods(started.runId)).toEqual([...made].sort());
});

test('a provider that does not terminate within the bound: CleanupIncomplete with the ids, and a sweep finishes it', async () => {
  await restartWorker({ ANNEAL_CLEANUP_BOUND: '5s' });
  const refuse = { target: 'runpod', operation: 'podTerminate', action: { kind: 'status', status: 500 } } as const;
  await world.fault({ ...refuse, times: 1_000 });
  const started = await startRun(world.client, long('refused', { ablate: { trials: 1 } }), { until: 'prepare' });
  const error: unknown = await resultOf(world.client, started).catch((failure: unknown) => failure);
  const [pod] = await podsOf('refused');
  expect(error).toBeInstanceOf(WorkflowFailedError);
  expect((error as WorkflowFailedError).cause).toMatchObject({
    type: 'CleanupIncomplete',
    details: [{ podNames: [pod!.name], podIds: [pod!.id] }],
  });
  // Still refused: the sweep says so and keeps it on its list.
  await sweep();
  const refused = await until(async () => {
    const report = await sweep();
    return report.failures.length > 0 && report;
  }, 'a sweep is refused');
  expect(refused).toMatchObject({ ended: [], failures: [{ id: pod!.id }] });
  await world.clearFaults();
  expect(await sweep()).toMatchObject({ ended: [{ id: pod!.id }], failures: [] });
});

test('Temporal killed: the switch stops at the hard deadline, and sweeps go by what Postgres holds', async () => {
  await restartWorker(SHORT_RESERVE);
  // About a tenth of a cent per second: this one's money, and so its hard deadline, is not a minute away.
  const [rich, poor] = await Promise.all([
    ablating(long('rich')),
    ablating(long('poor', { budget: { capUsd: 0.06, grace: '1h' } })),
  ]);
  expect((await viewRun(world.client, 'poor')).progress.spend.cap).toBe(fromUsd(0.06));
  process.kill(await pidOf('temporal'), 'SIGKILL');

  const kept = await sweep();
  expect(kept.ended).toEqual([]);
  expect(kept.kept.map(({ id }) => id).sort()).toEqual([rich.pod.id, poor.pod.id].sort());
  await deadlineIsPast(rich.pod.name);
  const swept = await sweep();
  // On a slow machine the other one's own deadline may have come, too.
  expect(swept.ended.map(({ id }) => id)).toContain(rich.pod.id);
  for (const { reason } of swept.ended) expect(reason).toContain('past its hard deadline');

  await until(
    async () => (await podsOf('poor')).every(({ processes }) => processes.length === 0),
    'the switch ends it',
  );
  await until(async () => {
    await sweep();
    return (await podsOf('poor')).length === 0;
  }, 'nothing is left of it');
  // It may have gone by itself after the last sweep had looked.
  await sweep();
});
