import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Connection, type Client } from '@temporalio/client';
import postgres from 'postgres';
import { connect } from '../../client/connect.ts';
import { resultOf, startRun, viewRun } from '../../client/pipelines.ts';
import { becomesFree, freePorts } from '../../local/ports.ts';
import { startPostgres } from '../../local/postgres.ts';
import { endProcess, isAlive, type ProcessIdentity } from '../../local/processes.ts';
import { inWorld } from '../../local/world-env.ts';
import { currentWorld, downWorld, upWorld } from '../../local/world.ts';
import { readRecord } from '../../local/world-record.ts';
import { until } from '../support/local-world.ts';
import { aSpec } from '../support/specs.ts';

const silent = () => undefined;

/** Process ids by what they are, as the record has them. */
async function pids(stateDir: string): Promise<Record<string, number>> {
  const { processes = [] } = (await readRecord(stateDir)) ?? {};
  return Object.fromEntries(processes.map(({ component, identity }) => [component, identity.pid]));
}

/** kill -9 of one process of a world. */
async function kill(stateDir: string, what: string): Promise<void> {
  const found = (await readRecord(stateDir))?.processes.find(({ component }) => component === what);
  if (found === undefined) throw new Error(`no ${what} was recorded`);
  process.kill(found.identity.pid, 'SIGKILL');
  await whenEnded(found.identity);
}

async function whenEnded(identity: ProcessIdentity): Promise<void> {
  while (await isAlive(identity)) await new Promise((resolve) => setTimeout(resolve, 20));
}

describe('the local world', () => {
  let stateDir: string;

  beforeAll(async () => {
    stateDir = await mkdtemp(join(tmpdir(), 'anneal-world-'));
    await chmod(stateDir, 0o711);
  });

  afterAll(async () => {
    await downWorld(stateDir);
    await rm(stateDir, { recursive: true, force: true });
  });

  test('PostgreSQL keeps its data through a killed host, a killed server and a clean stop', async () => {
    const folder = join(stateDir, 'alone');
    const [port = 0] = await freePorts(1);
    const start = () => startPostgres({ stateDir: folder, port, env: process.env });
    const first = await start();
    const sql = postgres(first.url, { max: 1, onnotice: () => undefined });
    await sql`create table t (n int)`;
    await sql`insert into t values (1)`;
    await sql.end();
    expect((await stat(join(folder, 'secrets.json'))).mode & 0o777).toBe(0o600);

    // The host dies alone: its server lives on, and the next start ends it.
    process.kill(first.identity.pid, 'SIGKILL');
    await whenEnded(first.identity);
    expect(await isAlive(first.serverIdentity)).toBe(true);
    const second = await start();
    expect(await isAlive(first.serverIdentity)).toBe(false);

    // Both die at once: postmaster.pid stays behind.
    process.kill(second.identity.pid, 'SIGKILL');
    process.kill(second.serverIdentity.pid, 'SIGKILL');
    await Promise.all([whenEnded(second.identity), whenEnded(second.serverIdentity)]);
    const third = await start();
    const again = postgres(third.url, { max: 1 });
    expect(await again`select n from t`).toEqual([{ n: 1 }]);

    // An open session does not hold up a clean stop.
    expect(await endProcess(third.identity, { graceMs: 10_000 })).toBe('ended');
    expect(await isAlive(third.serverIdentity)).toBe(false);
    await again.end({ timeout: 1 });
  });

  test('up, reuse, a dead component, up anew, down', async () => {
    const options = { stateDir, only: ['temporal', 'postgres'] as const, ports: 'free' as const, report: silent };
    const world = await upWorld(options);
    expect(world.env).toMatchObject({
      TEMPORAL_ADDRESS: `127.0.0.1:${String(world.ports.temporal)}`,
      TEMPORAL_NAMESPACE: 'default',
      ANNEAL_INSTALLATION: 'local',
      ANNEAL_TEMPORAL_UI_URL: `http://127.0.0.1:${String(world.ports.temporalUi)}`,
    });
    expect(world.env['ANNEAL_MASTER_KEY']).toMatch(/^[0-9a-f]{64}$/);
    expect(world.env).not.toHaveProperty('RUNPOD_API_KEY');
    expect((await stat(join(stateDir, 'world.json'))).mode & 0o777).toBe(0o600);

    const connection = await Connection.connect({ address: world.env['TEMPORAL_ADDRESS'] ?? '' });
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace: 'default' });
    expect(customAttributes).toMatchObject({ ModelName: 2, SpentUsd: 4 });
    await connection.close();
    const sql = postgres(world.env['ANNEAL_DATABASE_URL'] ?? '', { max: 1 });
    expect(await sql`select count(*)::int as n from anneal.runs`).toEqual([{ n: 0 }]);
    await sql.end();

    expect((await upWorld(options)).reused).toBe(true);
    expect((await currentWorld(stateDir))?.env).toEqual(world.env);

    // Temporal dies, and its port is taken: the rest stays as it is, and the error says what to do.
    const before = await pids(stateDir);
    await kill(stateDir, 'temporal');
    expect(await currentWorld(stateDir)).toBeUndefined();
    expect(await becomesFree(world.ports.temporal, 10_000)).toBe(true);
    const thief = createServer().listen(world.ports.temporal, '127.0.0.1');
    await once(thief, 'listening');
    await expect(upWorld(options)).rejects.toThrow(/in use by now.*anneal down/);
    thief.close();
    expect((await pids(stateDir))['postgres']).toBe(before['postgres']);

    // Alone it comes back, at its place.
    const mended = await upWorld(options);
    expect(mended).toMatchObject({ reused: false, restarted: ['temporal'], env: world.env, ports: world.ports });
    const after = await pids(stateDir);
    expect(after).toMatchObject({ postgres: before['postgres'], 'postgres-server': before['postgres-server'] });
    expect(after['temporal']).not.toBe(before['temporal']);
    expect(await upWorld(options)).toMatchObject({ reused: true, restarted: [] });

    // The server without its host, and the host without its server.
    await kill(stateDir, 'postgres');
    expect((await upWorld(options)).restarted).toEqual(['postgres']);
    await kill(stateDir, 'postgres-server');
    expect((await upWorld(options)).restarted).toEqual(['postgres']);
    expect((await pids(stateDir))['temporal']).toBe(after['temporal']);

    // Another version does not trust what an earlier one left half alive.
    await kill(stateDir, 'temporal');
    const record = await readRecord(stateDir);
    await writeFile(join(stateDir, 'world.json'), JSON.stringify({ ...record, startedBy: '0.0.1' }));
    const anew = await upWorld(options);
    expect(anew).toMatchObject({ reused: false, restarted: [] });
    expect(anew.env['ANNEAL_MASTER_KEY']).toBe(world.env['ANNEAL_MASTER_KEY']);

    const server = (await readRecord(stateDir))?.processes.find(({ component }) => component === 'postgres-server');
    expect(await downWorld(stateDir)).toBe(2);
    expect(server && (await isAlive(server.identity))).toBe(false);
    expect(await downWorld(stateDir)).toBe(0);
    expect(await currentWorld(stateDir)).toBeUndefined();
  });

  test('an abort in the middle ends everything that was started', async () => {
    const stop = new AbortController();
    const lines: string[] = [];
    const rising = upWorld({
      stateDir,
      only: ['temporal', 'postgres'],
      ports: 'free',
      signal: stop.signal,
      report: ({ component, done }) => {
        lines.push(component);
        if (done === true) stop.abort(new Error('interrupted'));
      },
    });
    await expect(rising).rejects.toThrow('interrupted');
    expect((await readRecord(stateDir))?.processes).toEqual([]);
    expect(lines).toContain('temporal');
    const log = await readFile(join(stateDir, 'logs', 'postgres.log'), 'utf8');
    expect(log).not.toContain('PANIC');
  });
});

test('an API of RunPod that there is not keeps a world from starting', async () => {
  const stateDir = await mkdtemp(join(tmpdir(), 'anneal-world-'));
  const env = { ...process.env, RUNPOD_API: 'v1' };
  const rising = upWorld({ stateDir, ports: 'free', report: silent, env });
  await expect(rising).rejects.toThrow('RUNPOD_API must be graphql or v2. Correct it, or unset it.');
  expect(await pids(stateDir)).toEqual({});
  await rm(stateDir, { recursive: true, force: true });
});

describe('a world that died in part', () => {
  let stateDir: string;
  let client: Client | undefined;
  const options = () => ({
    stateDir,
    ports: 'free' as const,
    report: silent,
    env: {
      ...process.env,
      RUNPOD_API: '',
      ANNEAL_WORKFLOW_BUNDLE: process.env['ANNEAL_TEST_BUNDLE'] ?? '',
      ANNEAL_LOG_LEVEL: 'warn',
    },
  });

  beforeAll(async () => {
    stateDir = await mkdtemp(join(tmpdir(), 'anneal-world-'));
  });

  afterAll(async () => {
    await client?.connection.close();
    await downWorld(stateDir);
    await rm(stateDir, { recursive: true, force: true });
  });

  test('a killed worker alone is replaced, and the open run goes on with its pod', async () => {
    // What it was started with is kept whenever a part of it is started again.
    const world = await upWorld({ ...options(), env: { ...options().env, RUNPOD_API: 'v2' } });
    expect(world.env['RUNPOD_API']).toBe('v2');
    const faults = `${world.env['RUNPOD_API_URL'] ?? ''}/_sim/faults`;
    const rule = { target: 'runpod', operation: 'v2.pods.create', action: { kind: 'delay', ms: 1 } };
    await fetch(faults, {
      method: 'POST',
      body: JSON.stringify(rule),
      headers: { 'content-type': 'application/json' },
    });
    client = await connect(inWorld(process.env, world.env));
    const open = client;
    const { serve: _serve, ...spec } = aSpec({ name: 'mended', ablate: { trials: 12, minTrialSeconds: 0.5 } });
    const started = await startRun(open, spec);
    await until(async () => {
      const { progress, live } = await viewRun(open, 'mended');
      return progress.activeJob?.stage === 'ablate' && (live?.offset ?? 0) > 0;
    }, 'ablate is followed');
    expect(await (await fetch(faults)).json()).toEqual([]);
    const before = await pids(stateDir);
    const rented = await podsOf(world.env);

    await kill(stateDir, 'worker');
    const mended = await upWorld(options());
    expect(mended).toMatchObject({ restarted: ['worker'], env: world.env, urls: world.urls });
    const { worker, ...rest } = await pids(stateDir);
    expect(before).toMatchObject(rest);
    expect(worker).not.toBe(before['worker']);
    expect(await podsOf(world.env)).toEqual(rented);
    expect(rented).toHaveLength(1);
    expect((await resultOf(open, started)).outputs.ablate).toMatchObject({ trialsCompleted: 12 });
  });

  test.each(['temporal', 'simulators'])(
    'a killed %s comes back at its place, with a new worker',
    async (what) => {
      const before = await pids(stateDir);
      await kill(stateDir, what);
      const mended = await upWorld(options());
      expect(mended.restarted).toEqual([what, 'worker']);
      const after = await pids(stateDir);
      for (const [component, pid] of Object.entries(before)) {
        expect([component, after[component] === pid]).toEqual([component, ![what, 'worker'].includes(component)]);
      }
      // The history is there, and the new worker answers for it.
      const connection = await connect(inWorld(process.env, mended.env));
      expect((await viewRun(connection, 'mended')).status).toBe('COMPLETED');
      await connection.connection.close();
      expect(await podsOf(mended.env)).toEqual([]);
    },
    120_000,
  );
});

/** Ids of the pods that the simulated provider has. */
async function podsOf(env: Record<string, string>): Promise<string[]> {
  const answer = await fetch(`${env['RUNPOD_API_URL'] ?? ''}/_sim/state`);
  const { pods } = (await answer.json()) as { pods: { id: string }[] };
  return pods.map(({ id }) => id);
}
