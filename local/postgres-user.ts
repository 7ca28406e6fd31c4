import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { LocalError } from './errors.ts';

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

/** A folder on the way that other users may not enter (as `/root` often is) would end in an unclear error later. */
export async function requireReachable(path: string, what: string): Promise<void> {
  for (let folder = path; dirname(folder) !== folder; folder = dirname(folder)) {
    const { mode } = await stat(folder);
    if ((mode & 0o001) === 0) {
      throw new LocalError(
        'postgres',
        `As root, PostgreSQL runs as another user, who cannot enter ${folder} to reach ${what}. ` +
          `Run as a normal user, move the checkout, or \`chmod o+x ${folder}\`.`,
      );
    }
  }
}
