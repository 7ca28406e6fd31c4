import { join } from 'node:path';
import { LocalError } from './errors.ts';
import { writeFileAtomically } from './files.ts';
import { repositoryRoot } from './paths.ts';
import { spawnDetached, waitUntilReady, type StartedProcess } from './processes.ts';
import { readReadyLine } from './ready-line.ts';
import type { WorldSecrets } from './world-env.ts';
import { READER_SECRET_NAME } from './world-env.ts';

const READY_DEADLINE_MS = 60_000;

export interface SimulatorTuning {
  /** Passed on as they are; see simulators/README. */
  delays?: Record<string, unknown>;
  balanceUsd?: number;
}

export interface StartSimulatorsOptions {
  stateDir: string;
  runpodPort: number;
  hubPort: number;
  pythonBin: string;
  modelDir: string;
  secrets: WorldSecrets;
  tuning: SimulatorTuning;
  env: NodeJS.ProcessEnv;
  signal: AbortSignal;
  onSpawned: (started: StartedProcess) => Promise<void>;
}

export interface SimulatorUrls {
  runpodUrl: string;
  dataPlaneUrl: string;
  hubUrl: string;
}

/** Starts the provider simulators. Their configuration holds tokens: it goes by a 0600 file, not by arguments. */
export async function startSimulators(options: StartSimulatorsOptions): Promise<SimulatorUrls> {
  const { stateDir, signal } = options;
  const root = repositoryRoot();
  const configFile = join(stateDir, 'simulators.json');
  await writeFileAtomically(configFile, JSON.stringify(configuration(options, root), null, 2));
  const started = await spawnDetached({
    component: 'simulators',
    command: process.execPath,
    args: ['--import', 'tsx', join(root, 'simulators', 'main.ts'), configFile],
    env: options.env,
    cwd: root,
    logFile: join(stateDir, 'logs', 'simulators.log'),
  });
  await options.onSpawned(started);
  const ready = await waitUntilReady(
    'simulators',
    started,
    () => readReadyLine(started.logFile),
    READY_DEADLINE_MS,
    signal,
  );
  const url = (name: string): string => {
    const value = ready[name];
    if (typeof value === 'string' && value !== '') return value;
    throw new LocalError('simulators', `The simulators reported no ${name}; see ${started.logFile}`);
  };
  return { runpodUrl: url('runpodUrl'), dataPlaneUrl: url('dataPlaneUrl'), hubUrl: url('hubUrl') };
}

function configuration(options: StartSimulatorsOptions, root: string) {
  const { stateDir, secrets, tuning } = options;
  return {
    stateDir: join(stateDir, 'simulators'),
    runpodPort: options.runpodPort,
    hubPort: options.hubPort,
    apiKey: secrets.runpodApiKey,
    hubTokens: [
      { token: secrets.hubWriter, name: 'anneal', role: 'write', namespaces: ['anneal'], canWrite: true },
      { token: secrets.hubReader, name: 'anneal-reader', role: 'read', namespaces: ['anneal'], canWrite: false },
    ],
    pythonBin: options.pythonBin,
    jobsDir: join(root, 'jobs'),
    seed: { repo: 'anneal/tiny-base', directory: options.modelDir },
    secrets: { [READER_SECRET_NAME]: secrets.hubReader },
    delays: tuning.delays ?? {},
    balanceUsd: tuning.balanceUsd ?? 100,
  };
}
