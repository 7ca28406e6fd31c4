import { join } from 'node:path';
import { createRegistry } from '../services/registry/postgres.ts';
import { ensureBaseModel } from './base-model.ts';
import { startPostgres } from './postgres.ts';
import { repositoryRoot } from './paths.ts';
import type { StartedProcess } from './processes.ts';
import { ensurePythonEnv } from './python-env.ts';
import type { Report } from './report.ts';
import { startSimulators, type SimulatorTuning, type SimulatorUrls } from './simulators.ts';
import { findOrBuildTemporalCli } from './temporal-cli.ts';
import { startTemporal } from './temporal-server.ts';
import { startWorker } from './worker.ts';
import type { Component } from './world.ts';
import {
  inWorld,
  runpodApi,
  simulatorUrls,
  temporalUiUrl,
  withoutForeign,
  worldEnv,
  worldSecrets,
} from './world-env.ts';
import type { WorldPorts } from './world-ports.ts';
import type { WorldProcess, WorldRecorder } from './world-record.ts';

export interface StartOptions {
  stateDir: string;
  env: NodeJS.ProcessEnv;
  cacheDir: string;
  components: ReadonlySet<Component>;
  /** What the record's processes already are; it is used as it is. */
  living?: ReadonlySet<Component>;
  ports: WorldPorts;
  recorder: WorldRecorder;
  report: Report;
  tuning: SimulatorTuning;
  signal: AbortSignal | undefined;
}

/** `env` for what is started, `toolEnv` with what the user set (TEMPORAL_CLI_PATH) for finding tools. */
type Running = StartOptions & { signal: AbortSignal; toolEnv: NodeJS.ProcessEnv };

/** Starts what was chosen and is not living: Temporal, PostgreSQL and the simulators side by side, then the worker. */
export async function startComponents(options: StartOptions): Promise<void> {
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  const running: Running = { ...options, env: withoutForeign(options.env), toolEnv: options.env, signal };
  const wants = (component: Component): boolean => options.components.has(component);
  const lives = (component: Component): boolean => options.living?.has(component) === true;
  const { record } = options.recorder;
  // Chosen when a world is new; what is mended goes on with what it had.
  const api = runpodApi(record.env['RUNPOD_API'] ?? options.env['RUNPOD_API']);
  const secrets = await worldSecrets(options.stateDir);
  const [temporal, databaseUrl, simulators] = await allOrNone(stop, [
    wants('temporal') && !lives('temporal') ? temporalUp(running) : Promise.resolve(lives('temporal')),
    wants('postgres') && !lives('postgres')
      ? postgresUp(running)
      : Promise.resolve(lives('postgres') ? record.env['ANNEAL_DATABASE_URL'] : undefined),
    wants('python') && !lives('simulators')
      ? simulatorsUp(running, secrets)
      : Promise.resolve(lives('simulators') ? simulatorUrls(record.env) : undefined),
  ] as const);
  const env = worldEnv({ ports: options.ports, secrets, temporal, databaseUrl, simulators, api });
  record.env = env;
  record.urls = {
    ...(temporal && { temporalUi: temporalUiUrl(options.ports) }),
    ...(simulators && { runpod: simulators.runpodUrl, hub: simulators.hubUrl }),
  };
  await options.recorder.save();
  if (!wants('worker') || lives('worker')) return;
  await startWorker({ ...running, env: inWorld(options.env, env), onSpawned: note(running, 'worker') });
  await ready(running, 'worker');
  options.report({ component: 'worker', message: `polling; RunPod by ${api}`, done: true });
}

/** Like Promise.all, but the first failure stops the others and is thrown once all of them have ended. */
async function allOrNone<A, B, C>(
  stop: AbortController,
  work: readonly [Promise<A>, Promise<B>, Promise<C>],
): Promise<[A, B, C]> {
  let first: { reason: unknown } | undefined;
  const settled = work.map((promise) =>
    promise.catch((reason: unknown) => {
      first ??= { reason };
      stop.abort();
    }),
  );
  await Promise.all(settled);
  if (first) throw first.reason;
  return Promise.all(work);
}

/** Records a process the moment it exists: a crash right after leaves nothing unknown. */
function note({ recorder }: Running, component: WorldProcess): (started: StartedProcess) => Promise<void> {
  return async ({ identity, logFile }) => {
    recorder.record.processes.push({ component, identity, logFile, starting: true });
    await recorder.save();
  };
}

/** From here on whoever reads the record may rely on it. */
async function ready({ recorder }: Running, component: WorldProcess): Promise<void> {
  for (const entry of recorder.record.processes) if (entry.component === component) delete entry.starting;
  await recorder.save();
}

async function temporalUp(options: Running): Promise<true> {
  const { env, toolEnv, stateDir, cacheDir, ports, report, signal } = options;
  const cli = await findOrBuildTemporalCli({ env: toolEnv, cacheDir, report, signal });
  report({ component: 'temporal', message: 'starting' });
  const { temporal: port, temporalUi: uiPort } = ports;
  await startTemporal({ cli, stateDir, port, uiPort, env, signal, onSpawned: note(options, 'temporal') });
  await ready(options, 'temporal');
  report({ component: 'temporal', message: `127.0.0.1:${String(port)}, UI at ${temporalUiUrl(ports)}`, done: true });
  return true;
}

async function postgresUp(options: Running): Promise<string> {
  const { env, stateDir, ports, report, signal, recorder } = options;
  report({ component: 'postgres', message: 'starting' });
  const onSpawned = note(options, 'postgres');
  const { url, serverIdentity, logFile } = await startPostgres({
    stateDir,
    port: ports.postgres,
    env,
    signal,
    onSpawned,
  });
  recorder.record.processes.push({ component: 'postgres-server', identity: serverIdentity, logFile });
  await recorder.save();
  const registry = createRegistry({ url, max: 1 });
  try {
    await registry.migrate();
  } finally {
    await registry.close();
  }
  await ready(options, 'postgres');
  report({ component: 'postgres', message: `127.0.0.1:${String(ports.postgres)}`, done: true });
  return url;
}

async function simulatorsUp(
  options: Running,
  secrets: Awaited<ReturnType<typeof worldSecrets>>,
): Promise<SimulatorUrls | undefined> {
  const { env, stateDir, cacheDir, components, ports, report, signal, tuning } = options;
  const jobsDir = join(repositoryRoot(), 'jobs');
  const lockFile = join(jobsDir, 'locks', 'rehearsal.txt');
  const { python, binDir } = await ensurePythonEnv({ cacheDir, lockFile, report, env, signal });
  report({ component: 'python', message: python, done: true });
  if (!components.has('model')) return undefined;
  const modelDir = await ensureBaseModel({ python, jobsDir, stateDir, env, signal });
  report({ component: 'model', message: 'the tiny base model is made', done: true });
  if (!components.has('simulators')) return undefined;
  const { runpod: runpodPort, hub: hubPort } = ports;
  const onSpawned = note(options, 'simulators');
  const place = { stateDir, runpodPort, hubPort, pythonBin: binDir, modelDir };
  const urls = await startSimulators({ ...place, secrets, tuning, env, signal, onSpawned });
  await ready(options, 'simulators');
  report({ component: 'simulators', message: `RunPod ${urls.runpodUrl}, Hub ${urls.hubUrl}`, done: true });
  return urls;
}
