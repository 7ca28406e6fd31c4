import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { repositoryRoot } from '../../local/paths.ts';
import { findPython } from '../../local/python-env.ts';
import { announce, environmentsFolder, listEnvironments, makeEnvironments } from './environments.ts';

/**
 * `npm run test:toolchain`: the pipeline of the local world with the real packages of the GPU toolchain, on a CPU. Says what it
 * installs before it does. Ends with a line `N passed, N failed, N skipped`, as `npm test` does.
 */
const root = repositoryRoot();

/** Runs a command with our terminal; resolves with its exit code. */
function run(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: root, env: { ...process.env, ...env }, stdio: 'inherit' });
    child.once('error', reject);
    child.once('exit', (code) => {
      resolve(code ?? 1);
    });
  });
}

async function prepare(): Promise<NodeJS.ProcessEnv> {
  const folder = environmentsFolder(process.env);
  const { path: python } = await findPython(process.env);
  process.stdout.write(`prepare: ${await announce(await listEnvironments(python, folder), folder)}\n`);
  const began = Date.now();
  const environments = await makeEnvironments(python, folder);
  process.stdout.write(`prepare: environments ready after ${Math.round((Date.now() - began) / 1_000)} s\n`);
  if ((await run(['--import', 'tsx', join('test', 'support', 'prepare.ts')], {})) !== 0) {
    throw new Error('the tests could not be prepared; the message above says what is missing');
  }
  const folders = environments.map(({ name, folder: made }) => [`ANNEAL_TOOLCHAIN_${name.toUpperCase()}`, made]);
  // A tiny model gains nothing from threads, and those that wait for each other take the cores from everything else.
  return { ANNEAL_ENVS: folder, OMP_NUM_THREADS: '1', ...(Object.fromEntries(folders) as NodeJS.ProcessEnv) };
}

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

async function jest(env: NodeJS.ProcessEnv): Promise<Counts> {
  const scratch = await mkdtemp(join(tmpdir(), 'anneal-toolchain-'));
  try {
    const report = join(scratch, 'jest.json');
    const args = [
      '--runInBand',
      '--verbose',
      '--testPathIgnorePatterns=/node_modules/',
      '--json',
      '--outputFile',
      report,
    ];
    const program = join('node_modules', 'jest', 'bin', 'jest.js');
    const code = await run(
      ['--experimental-vm-modules', program, 'test/toolchain', ...args, ...process.argv.slice(2)],
      env,
    );
    const result = JSON.parse(await readFile(report, 'utf8')) as Record<string, number>;
    const failed = (result['numFailedTests'] ?? 0) + (result['numRuntimeErrorTestSuites'] ?? 0);
    return {
      passed: result['numPassedTests'] ?? 0,
      failed: failed > 0 || code === 0 ? failed : 1,
      skipped: (result['numPendingTests'] ?? 0) + (result['numTodoTests'] ?? 0),
    };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

const { passed, failed, skipped } = await prepare()
  .then(jest)
  .catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    return { passed: 0, failed: 1, skipped: 0 };
  });
process.stdout.write(`\n${passed} passed, ${failed} failed, ${skipped} skipped\n`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
