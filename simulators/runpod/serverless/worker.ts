import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { killMarked, POD_MARK } from '../../pod/processes.ts';
import { DATA_CENTERS, GPUS, POOL_PRICE_PER_SECOND } from '../catalogue.ts';
import { newId, poolStock, type SimulatorContext } from '../context.ts';
import { resolveSecrets } from '../pods.ts';
import type { EndpointRecord } from '../state.ts';
import { startEngine, untilHealthy } from './engine.ts';
import { downloadModel } from './model-files.ts';
import { servedNames } from './served-names.ts';

export type WorkerState = 'throttled' | 'initializing' | 'ready' | 'unhealthy' | 'stopped';

export interface Worker {
  readonly id: string;
  readonly endpointId: string;
  /** The endpoint's release when it started; another one makes the worker stale. */
  readonly release: number;
  readonly concurrency: number;
  /** What its engine answers to; answers carry the first. */
  readonly servedNames: readonly string[];
  readonly image: string;
  readonly dataCenterId: string;
  state: WorkerState;
  /** The GPU type of its machine; null until it has one. */
  gpuTypeId: string | null;
  /** When its container started last. */
  startedAt: number | null;
  crashes: number;
  engineUrl: string | null;
  /** Jobs it is working on. */
  running: number;
  /** Takes no more jobs and ends when it has none. */
  draining: boolean;
  /** Has taken the place of a stale worker. */
  relieves: boolean;
  idleSince: number;
  lastError: string | null;
  /** Last lines of its engine's output. */
  log(): string;
  /** Brings the engine's output since the last call into the log book. */
  pumpLog(): void;
  /** A throttled worker looks again for a machine. */
  retryStock(): void;
  stop(): Promise<void>;
}

/** Seconds a worker may take to become ready when RUNPOD_INIT_TIMEOUT does not say [D]. */
const DEFAULT_INIT_TIMEOUT_S = 420;

/** One serverless worker: waits for a machine, downloads the model from the Hub, runs the engine, restarts it on a crash. */
export function startWorker(
  context: SimulatorContext,
  endpoint: EndpointRecord,
  release: number,
  onCrash: () => void,
): Worker {
  const { store, ledger, timers, delays, logs } = context;
  const id = newId();
  const directory = join(context.stateDir, 'workers', id);
  const logFile = join(directory, 'engine.log');
  const meter = `worker:${id}`;
  const template = store.data.templates[endpoint.templateId];
  const env = Object.fromEntries(
    (template?.env ?? []).map(({ key, value }) => [key, resolveSecrets(context, value)]),
  ) as Partial<Record<string, string>>;
  let pumped = 0;
  const aborted = new AbortController();

  const worker: Worker = {
    id,
    endpointId: endpoint.id,
    release,
    concurrency: Number(env['MAX_CONCURRENCY'] ?? 30),
    servedNames: servedNames(env),
    image: template?.imageName ?? '',
    dataCenterId: endpoint.locations.split(',')[0] || (DATA_CENTERS[0] ?? ''),
    state: 'throttled',
    gpuTypeId: null,
    startedAt: null,
    crashes: 0,
    engineUrl: null,
    running: 0,
    draining: false,
    relieves: false,
    idleSince: Date.now(),
    lastError: null,
    log: () => (existsSync(logFile) ? readFileSync(logFile, 'utf8').slice(-4000) : ''),
    pumpLog() {
      const text = existsSync(logFile) ? readFileSync(logFile, 'utf8') : '';
      const end = text.lastIndexOf('\n') + 1;
      if (end <= pumped) return;
      for (const line of text.slice(pumped, end - 1).split('\n')) logs.write(id, 'container', line);
      pumped = end;
    },
    retryStock: findMachine,
    async stop() {
      if (worker.state === 'stopped') return;
      worker.state = 'stopped';
      worker.engineUrl = null;
      ledger.stop(meter);
      aborted.abort();
      await killMarked(POD_MARK, id);
      worker.pumpLog();
      logs.end(id);
      rmSync(directory, { recursive: true, force: true });
    },
  };
  const stopped = (): boolean => worker.state === 'stopped';

  function findMachine(): void {
    if (worker.state !== 'throttled') return;
    const pool = endpoint.gpuIds
      .split(',')
      .map((part) => part.trim())
      .find((part) => part !== '' && !part.startsWith('-') && poolStock(context, part) !== 'None');
    if (pool === undefined) return;
    const excluded = endpoint.gpuIds.split(',').map((part) => part.trim().replace(/^-/, ''));
    worker.gpuTypeId = GPUS.find((gpu) => gpu.pool === pool && !excluded.includes(gpu.id))?.id ?? null;
    worker.state = 'initializing';
    timers.after(delays.coldStart, () => void run(pool));
  }

  async function run(pool: string): Promise<void> {
    if (stopped()) return;
    try {
      // Billed from the start of the container, model download and load included.
      const perHour = (POOL_PRICE_PER_SECOND[pool] ?? 0) * 3600 * endpoint.gpuCount;
      ledger.set(meter, { gpu: perHour }, { endpointId: endpoint.id, gpuTypeId: worker.gpuTypeId ?? '' });
      worker.startedAt = Date.now();
      logs.write(id, 'system', `start container for ${worker.image}`);
      await timers.sleep(delays.modelLoad);
      const engine = await load();
      if (stopped()) return;
      worker.engineUrl = engine.url;
      worker.state = 'ready';
      worker.idleSince = Date.now();
      store.save();
      const how = await engine.exited;
      throw new Error(`the engine ended (${how})`);
    } catch (error) {
      await crash(error, pool);
    }
  }

  async function load() {
    const modelDir = join(directory, 'model');
    mkdirSync(directory, { recursive: true });
    const repo = env['MODEL_NAME'];
    if (!repo) throw new Error('MODEL_NAME is not set');
    if (!existsSync(modelDir)) {
      const revision = env['MODEL_REVISION'] ?? 'main';
      const source = { hubUrl: context.hubUrl, repo, revision, token: env['HF_TOKEN'] ?? null };
      const partial = `${modelDir}.partial`;
      rmSync(partial, { recursive: true, force: true });
      await downloadModel(source, partial, aborted.signal);
      renameSync(partial, modelDir);
    }
    const values = {
      model: modelDir,
      names: worker.servedNames,
      maxModelLen: env['MAX_MODEL_LEN'],
      chatTemplateKwargs: env['DEFAULT_CHAT_TEMPLATE_KWARGS'],
    };
    const engine = await startEngine(context, id, values, logFile);
    const limitMs = Number(env['RUNPOD_INIT_TIMEOUT'] ?? DEFAULT_INIT_TIMEOUT_S) * 1000;
    await untilHealthy(engine, limitMs, aborted.signal);
    return engine;
  }

  async function crash(error: unknown, pool: string): Promise<void> {
    if (stopped()) return;
    worker.lastError = error instanceof Error ? error.message : String(error);
    worker.state = 'unhealthy';
    worker.engineUrl = null;
    worker.crashes += 1;
    logs.write(id, 'system', `container ended: ${worker.lastError}`);
    ledger.stop(meter);
    onCrash();
    await killMarked(POD_MARK, id);
    // The platform tries for ever, at growing intervals.
    timers.after(delays.crashRestart * Math.min(worker.crashes, 5), () => void run(pool));
  }

  findMachine();
  return worker;
}
