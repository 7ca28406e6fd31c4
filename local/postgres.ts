import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { identify, spawnDetached, waitUntilReady, type ProcessIdentity, type StartedProcess } from './processes.ts';
import { repositoryRoot } from './paths.ts';
import { POSTGRES_USER } from './postgres-cluster.ts';
import { readReadyLine } from './ready-line.ts';
import { LocalError } from './errors.ts';
import { isReachable, reachableFolder } from './postgres-user.ts';
import { readOrMakeSecret } from './secrets.ts';

const READY_DEADLINE_MS = 60_000;

export interface StartPostgresOptions {
  stateDir: string;
  port: number;
  env: NodeJS.ProcessEnv;
  signal?: AbortSignal;
  /** Called as soon as the host process exists, before it is ready. */
  onSpawned?: (started: StartedProcess) => Promise<void>;
}

export interface RunningPostgres {
  url: string;
  port: number;
  /** The host process; ending it ends the server. */
  identity: ProcessIdentity;
  /** The server itself, for the case that its host was killed. */
  serverIdentity: ProcessIdentity;
  logFile: string;
}

/** Starts a real PostgreSQL on loopback, its data in `<stateDir>/postgres`, and gives the URL of database `anneal`. */
export async function startPostgres(options: StartPostgresOptions): Promise<RunningPostgres> {
  const { stateDir, port } = options;
  const root = repositoryRoot();
  const password = await readOrMakeSecret(stateDir, 'postgresPassword', 24);
  const started = await spawnDetached({
    component: 'postgres',
    command: process.execPath,
    args: ['--import', 'tsx', join(root, 'local', 'postgres-host.ts'), await postgresDataDir(stateDir), String(port)],
    env: { ...options.env, ANNEAL_POSTGRES_PASSWORD: password },
    cwd: root,
    logFile: join(stateDir, 'logs', 'postgres.log'),
  });
  await options.onSpawned?.(started);
  const ready = await waitUntilReady(
    'postgres',
    started,
    () => readReadyLine(started.logFile),
    READY_DEADLINE_MS,
    options.signal,
  );
  const serverIdentity = await identify(Number(ready['serverPid']));
  if (serverIdentity === null) throw new LocalError('postgres', `postgres ended at once; see ${started.logFile}`);
  return {
    url: `postgresql://${POSTGRES_USER}:${password}@127.0.0.1:${String(port)}/anneal`,
    port,
    identity: started.identity,
    serverIdentity,
    logFile: started.logFile,
  };
}

/** `<stateDir>/postgres`; elsewhere only where root's server user could not enter that folder. */
export async function postgresDataDir(stateDir: string): Promise<string> {
  if (process.getuid?.() !== 0 || (await isReachable(stateDir))) return join(stateDir, 'postgres');
  const key = createHash('sha256').update(stateDir).digest('hex').slice(0, 12);
  return join(await reachableFolder(`postgres-${key}`), 'data');
}
