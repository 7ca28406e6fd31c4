import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from '@jest/globals';
import type { Client } from '@temporalio/client';
import { unmet } from '../../bench/fault-plan.ts';
import { connect } from '../../client/connect.ts';
import { repositoryRoot } from '../../local/paths.ts';
import { inWorld, type RunPodApi } from '../../local/world-env.ts';
import { downWorld, upWorld, type World } from '../../local/world.ts';
import { createRegistry } from '../../services/registry/postgres.ts';
import type { RegistryPort } from '../../services/registry/port.ts';
import type { SimulatorView } from '../../simulators/runpod/admin.ts';
import type { FaultRule } from '../../simulators/faults.ts';

/** Clocks short enough for a test; everything else is as a person gets it. */
const TEST_CLOCKS = {
  ANNEAL_QUIET_PERIOD: '6s',
  ANNEAL_CHECKPOINT_EVERY: '1s',
  ANNEAL_RECONNECT_LIMIT: '20s',
  ANNEAL_LOG_LEVEL: 'warn',
};

/** A local world of a test's own, on free ports, with a worker the test may kill. */
export class TestWorld {
  readonly world: World;
  readonly client: Client;
  readonly registry: RegistryPort;
  readonly env: NodeJS.ProcessEnv;
  private worker: ChildProcess | null = null;
  /** Since they were last cleared. */
  private asked: FaultRule[] = [];

  private constructor(world: World, client: Client) {
    this.world = world;
    this.client = client;
    this.env = { ...inWorld(process.env, world.env), ...TEST_CLOCKS };
    this.registry = createRegistry({ url: world.env['ANNEAL_DATABASE_URL'] ?? '' });
  }

  static async start({ api = 'graphql' }: { api?: RunPodApi } = {}): Promise<TestWorld> {
    const stateDir = await mkdtemp(join(tmpdir(), 'anneal-world-'));
    const world = await upWorld({
      stateDir,
      env: { ...process.env, RUNPOD_API: api },
      ports: 'free',
      only: ['temporal', 'postgres', 'simulators'],
      report: () => undefined,
    });
    const created = new TestWorld(world, await connect(inWorld(process.env, world.env)));
    await created.startWorker();
    return created;
  }

  async startWorker(): Promise<void> {
    const root = repositoryRoot();
    const worker = spawn(process.execPath, ['--import', 'tsx', join(root, 'workers', 'main.ts')], {
      cwd: root,
      env: { ...this.env, ANNEAL_WORKFLOW_BUNDLE: process.env['ANNEAL_TEST_BUNDLE'] ?? '' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.worker = worker;
    const output: string[] = [];
    await new Promise<void>((resolve, reject) => {
      worker.stderr?.on('data', (data: Buffer) => output.push(data.toString()));
      worker.stdout?.on('data', (data: Buffer) => {
        output.push(data.toString());
        if (data.toString().includes('"ready":true')) resolve();
      });
      worker.once('exit', (code) => {
        reject(new Error(`the worker ended with ${code ?? 'a signal'}:\n${output.join('')}`));
      });
    });
  }

  /** kill -9: nothing is told, nothing is closed. */
  async killWorker(): Promise<void> {
    const { worker } = this;
    if (!worker || worker.exitCode !== null || worker.signalCode !== null) return;
    const gone = new Promise((resolve) => worker.once('exit', resolve));
    worker.kill('SIGKILL');
    await gone;
  }

  async fault(rule: FaultRule): Promise<void> {
    this.asked.push(rule);
    await this.admin('POST', 'faults', rule);
  }

  /** Waits until no fault of an operation is left: each has met a request. */
  async untilMet(operation: string): Promise<void> {
    const left = async (): Promise<FaultRule[]> => (await this.admin('GET', 'faults')) as FaultRule[];
    await until(
      async () => (await left()).every((rule) => rule.operation !== operation),
      `a request meets the fault of ${operation}`,
    );
  }

  /** Takes back what is left of the faults. One that never acted fails the test: it was about something else. */
  async clearFaults(): Promise<void> {
    const left = (await this.admin('GET', 'faults')) as FaultRule[];
    await this.admin('DELETE', 'faults');
    const asked = this.asked.splice(0);
    expect(unmet(asked, left)).toEqual([]);
  }

  async takePodAway(podId: string): Promise<void> {
    await this.admin('POST', `pods/${podId}/take-away`);
  }

  /** From now on these control planes answer as retired ones. */
  async retire(apis: { graphql?: 404 | 410; v2?: 404 | 410 }): Promise<void> {
    await this.admin('POST', 'retired', apis);
  }

  /** What of a GPU type there is to rent on the secure cloud. */
  async setStock(gpuTypeId: string, stock: 'High' | 'None'): Promise<void> {
    await this.admin('POST', 'stock', { gpuTypeId, cloud: 'SECURE', stock });
  }

  /** The account's balance at the provider. */
  async setBalance(usd: number): Promise<void> {
    await this.admin('POST', 'balance', { usd });
  }

  async rented(): Promise<SimulatorView> {
    return (await this.admin('GET', 'state')) as SimulatorView;
  }

  /** After a run: no pod, no process of a pod, no candidate endpoint. */
  async expectNothingRented(stable: readonly string[] = []): Promise<void> {
    const { pods, endpoints } = await this.rented();
    expect(pods).toEqual([]);
    const names = endpoints.map(({ name }) => name.replace(/ ?-fb$/, ''));
    expect(names.filter((name) => !stable.includes(name))).toEqual([]);
    const podsFolder = join(this.world.stateDir, 'simulators', 'runpod', 'pods');
    expect(await processesWith('environ', (text) => text.includes(podsFolder))).toEqual([]);
  }

  /** Ends everything and checks that no process of this world is left. */
  async stop(): Promise<void> {
    await this.killWorker();
    await this.registry.close();
    await this.client.connection.close();
    await downWorld(this.world.stateDir);
    expect(await processesOf(this.world.stateDir)).toEqual([]);
    await rm(this.world.stateDir, { recursive: true, force: true });
  }

  private async admin(method: string, path: string, body?: unknown): Promise<unknown> {
    const url = `${this.world.env['RUNPOD_API_URL'] ?? ''}/_sim/${path}`;
    const answer = await fetch(url, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }
}

/** Writes a spec as a file for commands that take one. */
export async function specFile(dir: string, name: string, spec: unknown): Promise<string> {
  const path = join(dir, `${name}.json`);
  await writeFile(path, JSON.stringify(spec));
  return path;
}

/** Process ids whose command line names a state folder. */
export async function processesOf(stateDir: string): Promise<string[]> {
  return processesWith('cmdline', (text) => text.includes(stateDir));
}

async function processesWith(file: 'environ' | 'cmdline', matches: (text: string) => boolean): Promise<string[]> {
  const ids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  const found = await Promise.all(
    ids.map(async (id) => ((await readFile(`/proc/${id}/${file}`, 'utf8').then(matches, () => false)) ? [id] : [])),
  );
  return found.flat();
}

/** Waits for a condition; the deadline only bounds a failing test. */
export async function until<T>(
  ask: () => Promise<T | undefined | false>,
  what: string,
  deadlineMs = 120_000,
): Promise<T> {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() > end) throw new Error(`never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
