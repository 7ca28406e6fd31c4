import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { repositoryRoot } from '../../local/paths.ts';

/** Builds into a folder inside the checkout, as `npm run build` does, and starts what came out. */
interface Ended {
  exitCode: number | null;
  output: string;
}

const root = repositoryRoot();
let out = '';
let built: Ended;

function node(args: string[], env: NodeJS.ProcessEnv): Promise<Ended> {
  const child = spawn(process.execPath, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (data: Buffer) => (output += data.toString()));
  child.stderr.on('data', (data: Buffer) => (output += data.toString()));
  return new Promise((resolve) => {
    child.once('close', (exitCode) => {
      resolve({ exitCode, output });
    });
  });
}

const { PATH } = process.env;
const EMPTY: NodeJS.ProcessEnv = PATH === undefined ? {} : { PATH };

beforeAll(async () => {
  await mkdir(join(root, '.anneal'), { recursive: true });
  out = await mkdtemp(join(root, '.anneal', 'build-'));
  built = await node(['--import', 'tsx', 'workers/build.ts', '--out', relative(root, out)], EMPTY);
});
afterAll(() => rm(out, { recursive: true, force: true }));

test('the build ends well and holds what the worker needs, and nothing of a developer', async () => {
  expect(built).toEqual({ exitCode: 0, output: built.output });
  const rooms = await readdir(out);
  expect(rooms).toEqual(expect.arrayContaining(['activities', 'services', 'workers', 'workflow-bundle.js']));
  for (const room of ['cli', 'local', 'simulators', 'test', 'node_modules']) expect(rooms).not.toContain(room);
  const migrations = join('services', 'registry', 'migrations');
  expect(await readdir(join(out, migrations))).toEqual(await readdir(join(root, migrations)));
  expect(await readFile(join(out, 'workflow-bundle.js'), 'utf8')).toContain('modelPipeline');
});

test('what was built imports production dependencies only', async () => {
  const { dependencies } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  const files = (await readdir(out, { recursive: true })).filter(
    (file) => file.endsWith('.js') && file !== 'workflow-bundle.js',
  );
  expect(files.length).toBeGreaterThan(50);
  for (const file of files) {
    const text = await readFile(join(out, file), 'utf8');
    for (const [, name] of text.matchAll(/^(?:import|export)(?:[^'"=]* from)? ['"]([^.'"][^'"]*)['"]/gm)) {
      const packageName = name!.split('/', name!.startsWith('@') ? 2 : 1).join('/');
      expect([file, isBuiltin(name!) || packageName in dependencies ? 'known' : name]).toEqual([file, 'known']);
    }
  }
});

test('without an environment the built worker exits with 1 and names every missing variable', async () => {
  const { exitCode, output } = await node([join(out, 'workers', 'main.js')], EMPTY);
  expect(exitCode).toBe(1);
  expect(output).toMatch(/^ConfigurationError: the environment has 5 fault\(s\)/);
  for (const name of [
    'ANNEAL_INSTALLATION',
    'ANNEAL_DATABASE_URL',
    'ANNEAL_MASTER_KEY',
    'RUNPOD_API_KEY',
    'HF_TOKEN',
  ]) {
    expect(output).toContain(`${name} is not set`);
  }
  expect(output).not.toMatch(/\n {4}at /);
});

test('the built health check is unhealthy without a fresh file', async () => {
  const missing = join(out, 'nothing.alive');
  const { exitCode, output } = await node([join(out, 'workers', 'health.js'), missing], EMPTY);
  expect(existsSync(missing)).toBe(false);
  expect([exitCode, output]).toEqual([1, expect.stringContaining('unhealthy:')]);
});

test('a folder outside the checkout is refused, since it would be emptied', async () => {
  const { exitCode, output } = await node(['--import', 'tsx', 'workers/build.ts', '--out', '/tmp'], EMPTY);
  expect([exitCode, output]).toEqual([1, expect.stringContaining('--out must lie inside')]);
});
