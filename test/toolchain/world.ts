import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect } from '@jest/globals';
import type { Client } from '@temporalio/client';
import { connect } from '../../client/connect.ts';
import { repositoryRoot } from '../../local/paths.ts';
import { runCommand } from '../../local/run-command.ts';
import { inWorld, READER_SECRET_NAME, worldEnv, worldSecrets } from '../../local/world-env.ts';
import { downWorld, upWorld } from '../../local/world.ts';
import type { ServingPort } from '../../services/runpod/port.ts';
import { createServing } from '../../services/runpod/serving.ts';
import { seedDataSet, seedModel, startHubSimulator, type HubSimulator } from '../../simulators/hub/index.ts';
import { startRunPodSimulator, type RunPodSimulator } from '../../simulators/runpod/index.ts';
import type { EngineTemplate } from '../../simulators/runpod/serverless/engine.ts';
import { processesOf } from '../support/local-world.ts';
import { required } from '../support/required.ts';

/** A job on this machine's processors is slower than a rehearsal, and what a test kills must be missed soon. */
const CLOCKS = {
  ANNEAL_QUIET_PERIOD: '6s',
  ANNEAL_CHECKPOINT_EVERY: '1s',
  ANNEAL_RECONNECT_LIMIT: '20s',
  ANNEAL_LOG_LEVEL: 'warn',
};
const SEED_MS = 300_000;

/** The Hub's content, as a spec names it. */
export const SEEDS = {
  model: 'anneal/tiny-talker',
  given: 'anneal/given-prompts',
  declined: 'anneal/declined-prompts',
  calibration: 'anneal/calibration-lines',
} as const;

/**
 * Temporal, PostgreSQL and the product's worker as in every local world; the simulators here, because their serverless workers
 * run another engine and their Hub holds a model that can be ablated. Pods find the real environments by `ANNEAL_ENVS`.
 */
export class ToolchainWorld {
  readonly client: Client;
  /** The endpoints, as the product asks them. */
  readonly serving: ServingPort;
  private readonly hub: HubSimulator;
  private readonly runpod: RunPodSimulator;
  private readonly stateDir: string;
  private readonly env: NodeJS.ProcessEnv;
  private worker: ChildProcess | null = null;

  private constructor(parts: {
    client: Client;
    hub: HubSimulator;
    runpod: RunPodSimulator;
    stateDir: string;
    env: NodeJS.ProcessEnv;
  }) {
    this.client = parts.client;
    this.hub = parts.hub;
    this.runpod = parts.runpod;
    this.stateDir = parts.stateDir;
    this.env = parts.env;
    const { dataPlaneUrl } = parts.runpod;
    this.serving = createServing({ dataPlaneUrl, apiKey: parts.env['RUNPOD_API_KEY'] ?? '' });
  }

  static async start(): Promise<ToolchainWorld> {
    const stateDir = await mkdtemp(join(tmpdir(), 'anneal-toolchain-'));
    const world = await upWorld({ stateDir, ports: 'free', only: ['temporal', 'postgres'], report: () => undefined });
    const secrets = await worldSecrets(stateDir);
    const hub = await startHubSimulator({
      stateDir: join(stateDir, 'hub'),
      port: 0,
      tokens: [
        { token: secrets.hubWriter, name: 'anneal', role: 'write', namespaces: ['anneal'], canWrite: true },
        { token: secrets.hubReader, name: 'anneal-reader', role: 'read', namespaces: ['anneal'], canWrite: false },
      ],
    });
    await seed(hub, join(stateDir, 'seeds'));
    const runpod = await startRunPodSimulator({
      stateDir: join(stateDir, 'runpod'),
      apiKey: secrets.runpodApiKey,
      hubUrl: hub.url,
      pythonBin: dirname(required('ANNEAL_PYTHON')),
      jobsDir: join(repositoryRoot(), 'jobs'),
      engine: engine(),
      secrets: { [READER_SECRET_NAME]: secrets.hubReader },
      initialBalanceUsd: 100,
    });
    const simulators = { runpodUrl: runpod.url, dataPlaneUrl: runpod.dataPlaneUrl, hubUrl: hub.url };
    const databaseUrl = world.env['ANNEAL_DATABASE_URL'];
    const product = worldEnv({ ports: world.ports, secrets, temporal: true, databaseUrl, simulators, api: 'graphql' });
    const env = { ...inWorld(process.env, product), ...CLOCKS, ANNEAL_TOOLCHAIN_DEVICE: 'cpu' };
    const created = new ToolchainWorld({ client: await connect(env), hub, runpod, stateDir, env });
    await created.startWorker();
    return created;
  }

  async startWorker(): Promise<void> {
    const root = repositoryRoot();
    const worker = spawn(process.execPath, ['--import', 'tsx', join(root, 'workers', 'main.ts')], {
      cwd: root,
      env: { ...this.env, ANNEAL_WORKFLOW_BUNDLE: required('ANNEAL_TEST_BUNDLE') },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.worker = worker;
    let output = '';
    await new Promise<void>((resolve, reject) => {
      const take = (data: Buffer): void => {
        output = (output + data.toString()).slice(-20_000);
        if (output.includes('"ready":true')) resolve();
      };
      worker.stdout.on('data', take);
      worker.stderr.on('data', take);
      worker.once('exit', (code) => {
        reject(new Error(`the worker ended with ${code ?? 'a signal'}:\n${output}`));
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

  /** The work folder of the only pod. */
  workFolder(): string {
    const [pod, ...others] = this.runpod.state().pods;
    if (!pod || others.length > 0) throw new Error(`there are ${others.length + (pod ? 1 : 0)} pods, not one`);
    return join(this.stateDir, 'runpod', 'pods', pod.id, 'workspace', 'anneal', 'work');
  }

  /** The job folders of the only pod by job id, each with the events that its program told. */
  jobs(): Map<string, Record<string, unknown>[]> {
    const folder = join(this.workFolder(), '..', 'jobs');
    const events = (id: string): Record<string, unknown>[] => {
      const file = join(folder, id, 'events.jsonl');
      const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
      // The last line may be half written.
      return lines.slice(0, -1).map((line) => JSON.parse(line) as Record<string, unknown>);
    };
    return new Map(readdirSync(folder).map((id) => [id, events(id)]));
  }

  /** Pids of the search itself: what runs in the folder of the ablation. */
  heretics(): number[] {
    const ablation = join(this.workFolder(), 'ablate');
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && folderOf(name) === ablation)
      .map(Number);
  }

  expectNothingRented(stable: readonly string[] = []): void {
    const { pods, endpoints } = this.runpod.state();
    expect(pods).toEqual([]);
    const names = endpoints.map(({ name }) => name.replace(/ ?-fb$/, ''));
    expect(names.filter((name) => !stable.includes(name))).toEqual([]);
  }

  /** A file of a published release, with the product's token. */
  async published(repo: string, commit: string, path: string): Promise<Buffer> {
    return Buffer.from(await (await this.ask(`${repo}/resolve/${commit}/${path}`)).arrayBuffer());
  }

  /** Every file of a published release: size, and the hash by which the Hub knows it. */
  async listed(repo: string, commit: string): Promise<{ path: string; size: number; hash: string }[]> {
    const entries = (await (await this.ask(`api/models/${repo}/tree/${commit}?recursive=true`)).json()) as {
      path: string;
      size: number;
      oid: string;
      lfs?: { oid: string };
    }[];
    return entries.map(({ path, size, oid, lfs }) => ({ path, size, hash: lfs?.oid ?? oid }));
  }

  private async ask(path: string): Promise<Response> {
    const headers = { authorization: `Bearer ${this.env['HF_TOKEN'] ?? ''}` };
    const answer = await fetch(`${this.hub.url}/${path}`, { headers });
    if (!answer.ok) throw new Error(`the Hub answers ${answer.status} to ${path}`);
    return answer;
  }

  /** Ends everything and checks that no process of this world is left. */
  async stop(): Promise<void> {
    await this.killWorker();
    await this.client.connection.close();
    await this.runpod.close();
    await this.hub.close();
    await downWorld(this.stateDir);
    expect(await processesOf(this.stateDir)).toEqual([]);
    await rm(this.stateDir, { recursive: true, force: true });
  }
}

/** The folder of an environment that run.ts has made. */
function environment(name: string): string {
  const folder = process.env[`ANNEAL_TOOLCHAIN_${name}`];
  if (folder === undefined) throw new Error(`the environment ${name} is not made; run: npm run test:toolchain`);
  return folder;
}

const python = (name: string): string => join(environment(name), 'bin', 'python');

/** `transformers serve` over the very libraries that verified the release. */
const engine = (): EngineTemplate => [
  python('QUANT'),
  join(repositoryRoot(), 'test', 'toolchain', 'engine.py'),
  ...['--serve-packages', environment('ENGINE')],
  ...['--model', '{model}', '--host', '{host}', '--port', '{port}', '--served-model-name', '{names}'],
  ['--max-model-len', '{maxModelLen}'],
  ['--default-chat-template-kwargs', '{chatTemplateKwargs}'],
];

async function seed(hub: HubSimulator, folder: string): Promise<void> {
  const program = join(repositoryRoot(), 'test', 'toolchain', 'make_seeds.py');
  const made = await runCommand(python('ABLATE'), [program, folder], {
    env: { ...process.env, HF_HUB_OFFLINE: '1', CUDA_VISIBLE_DEVICES: '' },
    timeoutMs: SEED_MS,
  });
  if (!made.ok) throw new Error(`the seeds could not be made:\n${made.output}`);
  const open = { private: false, gated: false } as const;
  await seedModel(hub.store, { ...open, repo: SEEDS.model, directory: join(folder, 'model') });
  for (const name of ['given', 'declined', 'calibration'] as const)
    await seedDataSet(hub.dataSets, { ...open, repo: SEEDS[name], directory: join(folder, name) });
}

function folderOf(pid: string): string | null {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    // It has ended, or is not ours.
    return null;
  }
}
