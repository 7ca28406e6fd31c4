import { join } from 'node:path';
import { repositoryRoot } from './paths.ts';
import { spawnDetached, waitUntilReady, type StartedProcess } from './processes.ts';
import { readReadyLine } from './ready-line.ts';

/** It bundles the workflows first. */
const READY_DEADLINE_MS = 120_000;

export interface StartWorkerOptions {
  stateDir: string;
  env: NodeJS.ProcessEnv;
  signal: AbortSignal;
  onSpawned: (started: StartedProcess) => Promise<void>;
}

/** Starts the product's worker as a process of its own and waits until it polls. */
export async function startWorker({ stateDir, env, signal, onSpawned }: StartWorkerOptions): Promise<void> {
  signal.throwIfAborted();
  const root = repositoryRoot();
  const started = await spawnDetached({
    component: 'worker',
    command: process.execPath,
    args: ['--import', 'tsx', join(root, 'workers', 'main.ts')],
    env,
    cwd: root,
    logFile: join(stateDir, 'logs', 'worker.log'),
  });
  await onSpawned(started);
  await waitUntilReady('worker', started, () => readReadyLine(started.logFile), READY_DEADLINE_MS, signal);
}
