/**
 * The process that owns the local PostgreSQL: `node --import tsx local/postgres-host.ts <dataDir> <port>`, with the
 * password in ANNEAL_POSTGRES_PASSWORD. Prints one JSON line when ready; SIGTERM stops the server cleanly.
 */
import { mkdir, realpath } from 'node:fs/promises';
import { dirname, join, basename } from 'node:path';
import postgres from 'postgres';
import { POSTGRES_USER, prepareCluster, startServer } from './postgres-cluster.ts';
import { endLeftoverServer } from './postgres-leftover.ts';
import { LocalError, reasonOf } from './errors.ts';

async function main(): Promise<void> {
  const [directory, portText] = process.argv.slice(2);
  const password = process.env['ANNEAL_POSTGRES_PASSWORD'];
  const port = Number(portText);
  if (directory === undefined || password === undefined || !Number.isInteger(port)) {
    throw new LocalError('postgres', 'Usage: postgres-host <dataDir> <port>, password in ANNEAL_POSTGRES_PASSWORD');
  }
  delete process.env['ANNEAL_POSTGRES_PASSWORD'];
  await mkdir(dirname(directory), { recursive: true });
  const dataDir = join(await realpath(dirname(directory)), basename(directory));

  // Installed before the server exists: a stop asked for during the start must not leave it behind.
  const stop = new Promise<void>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, resolve);
  });
  await endLeftoverServer(dataDir);
  const cluster = await prepareCluster(dataDir, password);
  const server = await startServer(cluster, port);
  const ended = new Promise<void>((resolve) =>
    server.once('exit', () => {
      resolve();
    }),
  );
  try {
    await createDatabase(port, password);
    process.stdout.write(`${JSON.stringify({ ready: true, port, serverPid: server.pid })}\n`);
    const first = await Promise.race([stop.then(() => 'stop' as const), ended.then(() => 'ended' as const)]);
    if (first === 'ended') throw new LocalError('postgres', 'The PostgreSQL server ended by itself');
  } finally {
    // SIGINT is the fast shutdown: sessions are cut, data is written.
    server.kill('SIGINT');
    await ended;
  }
}

async function createDatabase(port: number, password: string): Promise<void> {
  const sql = postgres({ host: '127.0.0.1', port, username: POSTGRES_USER, password, database: 'postgres', max: 1 });
  try {
    const found = await sql`select 1 from pg_database where datname = 'anneal'`;
    if (found.length === 0) await sql`create database anneal`;
  } finally {
    await sql.end({ timeout: 5 });
  }
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`${reasonOf(error)}\n`);
    process.exit(1);
  },
);
