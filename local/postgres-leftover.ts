import { readFile, rm, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { identify, isAlive } from './identity.ts';
import { LocalError, reasonOf } from './errors.ts';

const FAST_SHUTDOWN_MS = 10_000;
const IMMEDIATE_SHUTDOWN_MS = 5_000;
/** `postmaster.pid` gives whole seconds of the wall clock, written shortly after the start. */
const START_TOLERANCE_S = 10;

/**
 * Ends a server that an ended host left on this data directory, and removes the lock file of one that is gone.
 * The pid in the file alone proves nothing: the process must also be a PostgreSQL in this very directory.
 */
export async function endLeftoverServer(dataDir: string): Promise<void> {
  const lockFile = join(dataDir, 'postmaster.pid');
  const lines = (await readFile(lockFile, 'utf8').catch(() => '')).split('\n');
  const pid = Number(lines[0]);
  const identity = await identify(pid);
  if (identity !== null && (await worksIn(pid, dataDir, Number(lines[2])))) {
    signal(pid, 'SIGINT');
    const until = Date.now() + FAST_SHUTDOWN_MS;
    while (await isAlive(identity)) {
      if (Date.now() > until + IMMEDIATE_SHUTDOWN_MS) {
        throw new LocalError('postgres', `The earlier server (process ${String(pid)}) does not end; end it by hand.`);
      }
      if (Date.now() > until) signal(pid, 'SIGQUIT');
      await delay(40);
    }
  }
  await rm(lockFile, { force: true });
}

/** On Linux the server's working directory is its data directory; elsewhere the start time has to do. */
async function worksIn(pid: number, dataDir: string, startedAtSeconds: number): Promise<boolean> {
  if (process.platform === 'linux') return (await readlink(`/proc/${String(pid)}/cwd`).catch(reasonOf)) === dataDir;
  const started = Date.parse((await identify(pid))?.startTime ?? '');
  return Math.abs(started / 1000 - startedAtSeconds) < START_TOLERANCE_S;
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It ended meanwhile.
  }
}
