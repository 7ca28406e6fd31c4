import { spawn, type ChildProcess } from 'node:child_process';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import { connect } from '../client/connect.ts';
import { repositoryRoot } from '../local/paths.ts';
import { inWorld } from '../local/world-env.ts';
import { downWorld, upWorld, type Component, type World } from '../local/world.ts';
import type { FaultRule } from '../simulators/faults.ts';
import type { SimulatorView } from '../simulators/runpod/admin.ts';
import type { RowContext } from './row.ts';

/** As the tests have them: waits that only bound a fault are short, so that a fault run takes seconds. */
const CLOCKS = {
  ANNEAL_QUIET_PERIOD: '6s',
  ANNEAL_CHECKPOINT_EVERY: '1s',
  ANNEAL_RECONNECT_LIMIT: '20s',
  ANNEAL_LOG_LEVEL: 'error',
};

export interface OpenWorld {
  world: World;
  client: Client;
}

/**
 * Runs `body` in a local world of its own, on free ports and in a folder of its own, gone when the row ends. Calls to
 * Temporal that are under way when the row is told to stop are given up.
 */
export async function inOwnWorld<T>(
  { closing, signal, say }: RowContext,
  body: (open: OpenWorld) => Promise<T>,
  only: readonly Component[] = ['temporal', 'postgres', 'simulators'],
): Promise<T> {
  say('starting a local world');
  const folder = await mkdtemp(join(tmpdir(), 'anneal-bench-'));
  // As in a checkout, so that `anneal down` finds it there should the bench be killed.
  const stateDir = join(folder, '.anneal');
  await closing.add(async () => {
    await downWorld(stateDir);
    await rm(folder, { recursive: true, force: true });
  });
  // As root, PostgreSQL runs as another user and has to get through to its data.
  await chmod(folder, 0o711);
  const world = await upWorld({ stateDir, ports: 'free', only, signal, report: () => undefined });
  const client = await connect(inWorld(process.env, world.env));
  await closing.add(() => client.connection.close());
  return client.withAbortSignal(signal, () => body({ world, client }));
}

/** A worker process that a row may kill. */
export class WorkerProcess {
  readonly pid: number;
  private readonly child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.child = child;
    this.pid = child.pid ?? 0;
  }

  /** Starts `script` in the environment of a world; resolves once it says that it is ready. */
  static async start(
    { closing }: RowContext,
    world: World,
    script: string,
    env: Record<string, string> = {},
    onLine: (line: string) => void = () => undefined,
  ): Promise<WorkerProcess> {
    const root = repositoryRoot();
    const child = spawn(process.execPath, ['--import', 'tsx', join(root, script)], {
      cwd: root,
      env: { ...inWorld(process.env, world.env), ...CLOCKS, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      // Ctrl-C in a terminal reaches whole groups; the row ends its worker itself.
      detached: true,
    });
    const started = new WorkerProcess(child);
    await closing.add(() => started.kill());
    const output: string[] = [];
    await new Promise<void>((resolve, reject) => {
      const keep = (data: Buffer): void => {
        output.push(data.toString());
        if (output.length > 200) output.shift();
      };
      child.stderr.on('data', keep);
      child.stdout.on('data', (data: Buffer) => {
        keep(data);
        for (const line of data.toString().split('\n')) onLine(line);
        if (data.toString().includes('"ready":true')) resolve();
      });
      child.once('error', reject);
      child.once('exit', (code) =>
        reject(new Error(`the worker ended with ${code ?? 'a signal'}: ${output.join('')}`)),
      );
    });
    return started;
  }

  /** kill -9: nothing is told, nothing is closed. */
  async kill(): Promise<void> {
    const { child } = this;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }
}

export const PRODUCT_WORKER = join('workers', 'main.ts');

/** What the simulated provider and Hub are told and asked, without a key. */
export class Provider {
  private readonly url: string;

  constructor({ env }: World) {
    this.url = `${env['RUNPOD_API_URL'] ?? ''}/_sim`;
  }

  state = (): Promise<SimulatorView> => this.ask('GET', 'state') as Promise<SimulatorView>;
  fault = (rule: FaultRule): Promise<unknown> => this.ask('POST', 'faults', rule);
  /** What may still act. */
  faults = (): Promise<FaultRule[]> => this.ask('GET', 'faults') as Promise<FaultRule[]>;
  clearFaults = (): Promise<unknown> => this.ask('DELETE', 'faults');
  takePodAway = (podId: string): Promise<unknown> => this.ask('POST', `pods/${podId}/take-away`);

  private async ask(method: string, path: string, body?: unknown): Promise<unknown> {
    const answer = await fetch(`${this.url}/${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }
}
