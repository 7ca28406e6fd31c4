import { randomBytes } from 'node:crypto';
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { codeOf } from './errors.ts';
import { identify, isAlive, type ProcessIdentity } from './identity.ts';

const RETRY_MS = 200;

export interface LockOptions {
  signal?: AbortSignal | undefined;
  /** Called once, when another process holds the lock. */
  onWait?: (holder: ProcessIdentity) => void;
}

/** Runs `action` while no other process holds the lock. A lock whose holder has ended is taken over. */
export async function withBuildLock<T>(file: string, action: () => Promise<T>, options: LockOptions = {}): Promise<T> {
  await acquire(file, options);
  try {
    return await action();
  } finally {
    await rm(file, { force: true });
  }
}

async function acquire(file: string, { signal, onWait }: LockOptions): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const mine = `${file}.${randomBytes(4).toString('hex')}`;
  await writeFile(mine, JSON.stringify(await identify(process.pid)));
  try {
    for (let waited = false; ;) {
      signal?.throwIfAborted();
      if (await tryLink(mine, file)) return;
      const holder = await readHolder(file);
      if (holder === undefined) continue;
      if (!(await isAlive(holder))) {
        await removeStale(file, holder);
        continue;
      }
      if (!waited) onWait?.(holder);
      waited = true;
      await delay(RETRY_MS, undefined, signal ? { signal } : {});
    }
  } finally {
    await rm(mine, { force: true });
  }
}

/** A hard link appears with its content, so that nobody ever reads an empty lock. */
async function tryLink(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

async function readHolder(file: string): Promise<ProcessIdentity | undefined> {
  const text = await readFile(file, 'utf8').catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as ProcessIdentity);
}

/** Moves it away first: when two waiters see the same dead holder, the second must not remove the first one's lock. */
async function removeStale(file: string, dead: ProcessIdentity): Promise<void> {
  const aside = `${file}.${randomBytes(4).toString('hex')}`;
  try {
    await rename(file, aside);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return;
    throw error;
  }
  const moved = await readHolder(aside);
  if (moved && (moved.pid !== dead.pid || moved.startTime !== dead.startTime)) await tryLink(aside, file);
  await rm(aside, { force: true });
}
