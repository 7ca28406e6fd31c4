import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import { SEARCH_ATTRIBUTES } from '../contract/names.ts';
import { spawnDetached, waitUntilReady, type StartedProcess } from './processes.ts';

const READY_DEADLINE_MS = 60_000;
const NAMESPACE = 'default';
const CLI_TYPES = { KEYWORD: 'Keyword', DOUBLE: 'Double' } as const;

export interface StartTemporalOptions {
  cli: string;
  stateDir: string;
  port: number;
  uiPort: number;
  env: NodeJS.ProcessEnv;
  signal: AbortSignal;
  onSpawned: (started: StartedProcess) => Promise<void>;
}

/** Starts the dev server with its data in the state folder, and waits until it knows our search attributes. */
export async function startTemporal(options: StartTemporalOptions): Promise<void> {
  const { cli, stateDir, port, uiPort, env, signal, onSpawned } = options;
  const attributes = Object.entries(SEARCH_ATTRIBUTES).flatMap(([name, type]) => [
    '--search-attribute',
    `${name}=${CLI_TYPES[type]}`,
  ]);
  const started = await spawnDetached({
    component: 'temporal',
    command: cli,
    args: [
      ...['server', 'start-dev', '--ip', '127.0.0.1', '--port', String(port), '--ui-port', String(uiPort)],
      ...['--db-filename', join(stateDir, 'temporal.db'), '--namespace', NAMESPACE, '--log-level', 'warn'],
      // The default hands over some 20 tasks a second; a chain of short activities would wait for its turn.
      ...['--dynamic-config-value', 'history.transferProcessorMaxPollRPS=2000'],
      ...attributes,
    ],
    env,
    cwd: stateDir,
    logFile: join(stateDir, 'logs', 'temporal.log'),
  });
  await onSpawned(started);
  await waitUntilReady('temporal', started, () => isReady(port), READY_DEADLINE_MS, signal);
}

async function isReady(port: number): Promise<true | undefined> {
  let connection: Connection | undefined;
  try {
    connection = await Connection.connect({ address: `127.0.0.1:${String(port)}`, connectTimeout: '1s' });
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace: NAMESPACE });
    return Object.keys(SEARCH_ATTRIBUTES).every((name) => name in customAttributes) ? true : undefined;
  } catch {
    return undefined;
  } finally {
    await connection?.close();
  }
}
