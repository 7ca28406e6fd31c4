import { execFile } from 'node:child_process';
import { lstat, mkdir, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { codeOf, LocalError } from './errors.ts';

const execute = promisify(execFile);

export interface SystemUser {
  uid: number;
  gid: number;
}

/** PostgreSQL refuses to run as root: then it runs as `postgres`, created when absent. Undefined for any other user. */
export async function postgresUser(): Promise<SystemUser | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const existing = await lookUp('postgres');
  if (existing) return existing;
  await execute('useradd', ['--system', '--no-create-home', '--shell', '/bin/false', 'postgres']).catch(
    () => undefined,
  );
  const user = (await lookUp('postgres')) ?? (await lookUp('nobody'));
  if (user) return user;
  throw new LocalError(
    'postgres',
    'PostgreSQL does not run as root and the user `postgres` could not be created. Run as another user, or `useradd --system postgres`.',
  );
}

async function lookUp(name: string): Promise<SystemUser | undefined> {
  try {
    const [uid, gid] = await Promise.all([execute('id', ['-u', name]), execute('id', ['-g', name])]);
    return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
  } catch {
    return undefined;
  }
}

/** Whether other users may enter every folder on the way: `/root` and temporary folders often bar them. */
export async function isReachable(path: string): Promise<boolean> {
  for (let folder = path; dirname(folder) !== folder; folder = dirname(folder)) {
    const { mode } = await stat(folder);
    if ((mode & 0o001) === 0) return false;
  }
  return true;
}

/**
 * A folder that root owns and others may enter, for what the `postgres` user must reach when the checkout bars it. Made
 * once per key; one of the same name that somebody else made is refused.
 */
export async function reachableFolder(key: string): Promise<string> {
  const folder = join(tmpdir(), `anneal-${key}`);
  await mkdir(folder, { mode: 0o755 }).catch((error: unknown) => {
    if (codeOf(error) !== 'EEXIST') throw error;
  });
  const { uid } = await lstat(folder);
  if (uid === process.getuid?.()) return folder;
  throw new LocalError('postgres', `${folder} belongs to another user; remove it, or run as a normal user`);
}
