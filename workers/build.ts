import { spawn } from 'node:child_process';
import { cp, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type * as Bundler from './build-bundle.ts';

/**
 * `npm run build`: what the worker image runs. The compiler starts at the entry points of tsconfig.build.json and emits only
 * what they reach, so the command line, local/, simulators/ and test/ stay out. `--out` must lie inside the checkout: the
 * compiled code finds its packages and jobs/ by walking upwards.
 */
const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const MIGRATIONS = join('services', 'registry', 'migrations');
/** Rooms that only a developer's machine may load. Reached by mistake, they would pull devDependencies into production. */
const UNWANTED = ['cli', 'live-checks', 'local', 'simulators', 'test'];

async function build(out: string): Promise<void> {
  await rm(out, { recursive: true, force: true });
  await compile(out);
  const strays = (await readdir(out)).filter((room) => UNWANTED.includes(room));
  if (strays.length > 0) throw new Error(`the worker must not reach ${strays.join(', ')}; see the imports of workers/`);
  await cp(join(ROOT, MIGRATIONS), join(out, MIGRATIONS), { recursive: true });
  await bundle(out);
}

function compile(out: string): Promise<void> {
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  const child = spawn(process.execPath, [tsc, '-p', join(ROOT, 'tsconfig.build.json'), '--outDir', out], {
    stdio: 'inherit',
  });
  return new Promise((done, fail) => {
    child.once('error', fail);
    child.once('exit', (code) => {
      if (code === 0) done();
      else fail(new Error('the sources do not compile'));
    });
  });
}

/** Bundles the compiled workflows with the compiled bundler: what was type-checked is what runs. */
async function bundle(out: string): Promise<void> {
  const compiled = pathToFileURL(join(out, 'workers', 'build-bundle.js')).href;
  const { buildBundle } = (await import(compiled)) as typeof Bundler;
  const folder = join(out, '.bundle');
  await mkdir(folder);
  await rename(await buildBundle(folder), join(out, 'workflow-bundle.js'));
  await rm(folder, { recursive: true });
}

const { values } = parseArgs({ options: { out: { type: 'string', default: 'dist' } } });
const out = resolve(ROOT, values.out);
try {
  if (!out.startsWith(join(ROOT, '/'))) throw new Error(`--out must lie inside ${ROOT}`);
  await build(out);
} catch (error) {
  process.stderr.write(`build: ${(error as Error).message}\n`);
  process.exitCode = 1;
}
