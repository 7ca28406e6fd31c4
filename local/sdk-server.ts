import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from './errors.ts';
import { repositoryRoot } from './paths.ts';
import { isExecutable, lastWords, runCommand } from './run-command.ts';

const DOWNLOAD_HOST = 'https://temporal.download/';
const PREFLIGHT_MS = 5_000;
const DOWNLOAD_MS = 180_000;

export interface SdkServerOptions {
  kind: 'dev-server' | 'time-skipping';
  dir: string;
  env: NodeJS.ProcessEnv;
  signal?: AbortSignal | undefined;
}

/** The server the SDK downloads for itself, in `dir`. Fails fast where the network refuses. */
export async function sdkServer(options: SdkServerOptions): Promise<{ path: string } | { reason: string }> {
  const present = await executableIn(options.dir);
  if (present !== undefined) return { path: present };
  const blocked = await preflight(options.env);
  if (blocked !== undefined) return { reason: blocked };
  await mkdir(options.dir, { recursive: true });
  const root = repositoryRoot();
  const script = join(root, 'local', 'sdk-download.ts');
  const result = await runCommand(process.execPath, ['--import', 'tsx', script, options.kind, options.dir], {
    env: options.env,
    cwd: root,
    timeoutMs: DOWNLOAD_MS,
    signal: options.signal,
  });
  const path = result.ok ? await executableIn(options.dir) : undefined;
  if (path !== undefined) return { path };
  await rm(options.dir, { recursive: true, force: true });
  return { reason: `the download failed: ${lastWords(result.output)}` };
}

async function executableIn(dir: string): Promise<string | undefined> {
  const names = await readdir(dir).catch(() => []);
  return names.map((name) => join(dir, name)).find(isExecutable);
}

/** Why the download cannot work; undefined when it may. Behind a proxy only the download itself can tell. */
async function preflight(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  if ((env['HTTPS_PROXY'] ?? env['https_proxy'] ?? '') !== '') return undefined;
  try {
    await fetch(DOWNLOAD_HOST, { method: 'HEAD', signal: AbortSignal.timeout(PREFLIGHT_MS) });
    return undefined;
  } catch (error) {
    return `${DOWNLOAD_HOST} cannot be reached (${reasonOf(error)})`;
  }
}
