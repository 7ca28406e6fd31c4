import { spawn, type ChildProcess } from 'node:child_process';
import { chown, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { LocalError } from './errors.ts';
import { findPostgresBinaries, type PostgresBinaries } from './postgres-binaries.ts';
import { postgresUser, type SystemUser } from './postgres-user.ts';

/** Not `anneal`: a schema of the user's own name comes first in the search path. */
export const POSTGRES_USER = 'postgres';

export interface Cluster {
  binaries: PostgresBinaries;
  user: SystemUser | undefined;
  dataDir: string;
}

const asUser = (user: SystemUser | undefined): SystemUser | Record<string, never> => user ?? {};
/** The messages are read by a program, here and in tests. */
const environment = (): NodeJS.ProcessEnv => ({ ...process.env, LC_ALL: 'C', LC_MESSAGES: 'C' });

/** Creates the data directory when there is none. A half-made one (no marker) is made anew. */
export async function prepareCluster(dataDir: string, password: string): Promise<Cluster> {
  const user = await postgresUser();
  const binaries = await findPostgresBinaries({ forOtherUser: user !== undefined });
  await mkdir(dirname(dataDir), { recursive: true });
  const marker = join(dataDir, 'anneal-complete');
  const complete = await readFile(marker, 'utf8').catch(() => undefined);
  if (complete === undefined) {
    await rm(dataDir, { recursive: true, force: true });
    await initialise({ binaries, user, dataDir }, password);
    await writeFile(marker, 'initdb ended well\n');
  }
  return { binaries, user, dataDir };
}

async function initialise({ binaries, user, dataDir }: Cluster, password: string): Promise<void> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const passwordFile = `${dataDir}.initdb`;
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  try {
    if (user) await Promise.all([chown(dataDir, user.uid, user.gid), chown(passwordFile, user.uid, user.gid)]);
    const args = [
      `--pgdata=${dataDir}`,
      '--auth=scram-sha-256',
      `--username=${POSTGRES_USER}`,
      `--pwfile=${passwordFile}`,
      '--encoding=UTF8',
      '--locale=C',
      '--no-sync',
    ];
    const child = spawn(binaries.initdb, args, {
      ...asUser(user),
      env: environment(),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const { code, output } = await outcome(child);
    if (code !== 0) throw new LocalError('postgres', `initdb failed with code ${String(code)}:\n${output.trim()}`);
  } finally {
    await rm(passwordFile, { force: true });
  }
}

function outcome(child: ChildProcess): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => (output += String(chunk)));
    child.once('error', reject);
    child.once('close', (code) => {
      resolve({ code, output });
    });
  });
}

/** Starts the server on loopback TCP alone and resolves when it takes connections. */
export async function startServer({ binaries, user, dataDir }: Cluster, port: number): Promise<ChildProcess> {
  const settings = [
    'listen_addresses=127.0.0.1',
    'unix_socket_directories=',
    'synchronous_commit=off',
    'shared_buffers=32MB',
  ];
  const args = ['-D', dataDir, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])];
  const server = spawn(binaries.postgres, args, {
    ...asUser(user),
    env: environment(),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  await new Promise<void>((resolve, reject) => {
    let text = '';
    server.stderr.on('data', (chunk: Buffer) => {
      process.stderr.write(chunk);
      text = (text + String(chunk)).slice(-4096);
      if (text.includes('database system is ready to accept connections')) resolve();
    });
    server.once('error', reject);
    server.once('exit', (code, signal) => {
      reject(
        new LocalError('postgres', `The server ended with ${signal ?? `code ${String(code)}`} before it was ready`),
      );
    });
  });
  return server;
}
