import { spawn } from 'node:child_process';
import { mkdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { defaultCacheDir, repositoryRoot } from '../../local/paths.ts';

/** One environment as make_environments.py tells of it. */
interface Environment {
  name: string;
  folder: string;
  bytes: number;
  ready: boolean;
}

/** Environments share files with the installer's downloads, which are removed at the end; some of these it only unpacks. */
const ROOM_TO_INSTALL = 1.25;
/** What a run leaves on the disk until its end. */
const ROOM_TO_RUN_BYTES = 2e9;

/** Where the environments lie: `ANNEAL_ENVS`, else beside everything else that is slow to make. */
export const environmentsFolder = (env: NodeJS.ProcessEnv): string =>
  env['ANNEAL_ENVS'] ?? join(defaultCacheDir(env), 'gpu-envs');

/** What is there and what is missing; installs nothing. */
export const listEnvironments = (python: string, folder: string): Promise<Environment[]> =>
  program(python, folder, 'list');

/** Makes what is missing; the installer's words go to stderr. Rejects when one cannot be made. */
export const makeEnvironments = (python: string, folder: string): Promise<Environment[]> =>
  program(python, folder, 'make');

/** Says what will be installed, and refuses (with a message) where the disk has no room for it. */
export async function announce(environments: Environment[], folder: string): Promise<string> {
  const missing = environments.filter(({ ready }) => !ready);
  await mkdir(folder, { recursive: true });
  const { bavail, bsize } = await statfs(folder);
  const toInstall = missing.reduce((sum, { bytes }) => sum + bytes, 0);
  const needed = toInstall * ROOM_TO_INSTALL + ROOM_TO_RUN_BYTES;
  if (bavail * bsize < needed) {
    throw new Error(
      `${folder} has ${gigabytes(bavail * bsize)} free, and ${gigabytes(needed)} are needed. ` +
        'Free some, or set ANNEAL_ENVS to a folder on a larger disk.',
    );
  }
  if (missing.length === 0) return `the environments are in ${folder}`;
  return (
    `installs ${missing.map(({ name }) => name).join(', ')} into ${folder}: at most ${gigabytes(toInstall)} ` +
    '(heretic, llm-compressor, vLLM, each with its torch), one to six minutes. They are kept; delete the folder to be rid of them.'
  );
}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;

async function program(python: string, folder: string, command: 'list' | 'make'): Promise<Environment[]> {
  const root = repositoryRoot();
  const child = spawn(python, [join(root, 'test', 'toolchain', 'make_environments.py'), command], {
    cwd: join(root, 'jobs'),
    env: { ...process.env, ANNEAL_ENVS: folder },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const output = await text(child.stdout);
  const code = await ended;
  if (code !== 0)
    throw new Error(`make_environments.py ${command} ended with ${code ?? 'a signal'}; its words are above`);
  // Whatever else an installer prints is not ours.
  const lines = output.split('\n').filter((line) => line.startsWith('{'));
  return lines.map((line) => JSON.parse(line) as Environment);
}
