import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..');
/** Rooms whose sources end up in the sandbox. */
const BUNDLED = ['workflows', 'contract', 'domain'];

/**
 * Builds the one workflow bundle, for the worker and for tests, unless a bundle of the very same sources and SDK lies in
 * `cacheDir`. Returns its path. Written under another name first, so parallel builders do not read halves.
 */
export async function buildBundle(cacheDir: string): Promise<string> {
  const path = join(cacheDir, `workflows-${await sourcesDigest()}.js`);
  if (existsSync(path)) return path;
  const { code } = await bundleWorkflowCode({
    workflowsPath: join(ROOT, 'workflows', import.meta.url.endsWith('.ts') ? 'index.ts' : 'index.js'),
    logger: new DefaultLogger('WARN'),
  });
  await mkdir(cacheDir, { recursive: true });
  const unfinished = `${path}.${process.pid}`;
  await writeFile(unfinished, code);
  await rename(unfinished, path);
  return path;
}

async function sourcesDigest(): Promise<string> {
  const digest = createHash('sha256').update(await readFile(join(ROOT, 'package.json')).catch(() => ''));
  for (const room of BUNDLED) {
    const files = (await readdir(join(ROOT, room), { recursive: true })).filter((name) => /\.[jt]s$/.test(name)).sort();
    for (const file of files) digest.update(`${room}/${file}\0`).update(await readFile(join(ROOT, room, file)));
  }
  return digest.digest('hex').slice(0, 16);
}
