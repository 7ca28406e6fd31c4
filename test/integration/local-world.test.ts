import { chmod, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Connection } from '@temporalio/client';
import postgres from 'postgres';
import { freePorts } from '../../local/ports.ts';
import { startPostgres } from '../../local/postgres.ts';
import { endProcess, isAlive, type ProcessIdentity } from '../../local/processes.ts';
import { currentWorld, downWorld, upWorld } from '../../local/world.ts';
import { readRecord } from '../../local/world-record.ts';

const silent = () => undefined;

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

    const temporal = (await readRecord(stateDir))?.processes.find(
      ({ component }) => component === 'temporal',
    )?.identity;
    if (temporal === undefined) throw new Error('no Temporal process was recorded');
    process.kill(temporal.pid, 'SIGKILL');
    await whenEnded(temporal);
    expect(await currentWorld(stateDir)).toBeUndefined();
    const anew = await upWorld(options);
    expect(anew.reused).toBe(false);
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
