import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultCacheDir, repositoryRoot } from '../local/paths.ts';
import { ensurePythonEnv } from '../local/python-env.ts';

/**
 * `npm test`: lint, types, import rules and every test level, one after the other, all of them even when one fails. Ends
 * with a line `N passed, N failed, N skipped`; a check that is not a test suite counts as one.
 */
interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

const root = repositoryRoot();
const scratch = await mkdtemp(join(tmpdir(), 'anneal-test-'));

const total: Counts = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];

function add(name: string, { passed, failed, skipped }: Counts): void {
  total.passed += passed;
  total.failed += failed;
  total.skipped += skipped;
  if (failed > 0) failures.push(name);
}

/** Runs a command with our terminal; resolves with its exit code. */
function run(
  name: string,
  command: string,
  args: string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<number> {
  process.stdout.write(`\n── ${name}\n`);
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd ?? root,
      env: { ...process.env, ...options.env },
      stdio: 'inherit',
    });
    child.once('error', reject);
    child.once('exit', (code) => {
      resolve(code ?? 1);
    });
  });
}

async function check(name: string, command: string, args: string[], cwd?: string): Promise<void> {
  const code = await run(name, command, args, cwd === undefined ? {} : { cwd });
  add(name, { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 });
}

const bin = (tool: string): string => join(root, 'node_modules', '.bin', tool);

async function jest(): Promise<void> {
  const report = join(scratch, 'jest.json');
  const args = ['--json', '--outputFile', report, '--testLocationInResults', ...process.argv.slice(2)];
  const code = await run('jest', bin('jest'), args, { env: { NODE_OPTIONS: '--experimental-vm-modules' } });
  const text = await readFile(report, 'utf8').catch(() => undefined);
  if (text === undefined) {
    add('jest', { passed: 0, failed: 1, skipped: 0 });
    return;
  }
  const result = JSON.parse(text) as Record<string, number>;
  const failed = (result['numFailedTests'] ?? 0) + (result['numRuntimeErrorTestSuites'] ?? 0);
  add('jest', {
    passed: result['numPassedTests'] ?? 0,
    failed: failed > 0 || code === 0 ? failed : 1,
    skipped: (result['numPendingTests'] ?? 0) + (result['numTodoTests'] ?? 0),
  });
}

async function pytest(): Promise<void> {
  const jobs = join(root, 'jobs');
  const { python } = await ensurePythonEnv({
    cacheDir: defaultCacheDir(process.env),
    lockFile: join(jobs, 'locks', 'dev.txt'),
    report: ({ component, message }) => process.stdout.write(`prepare: ${component}: ${message}\n`),
  });
  await check('ruff', python, ['-m', 'ruff', 'check', '.'], jobs);
  await check('mypy', python, ['-m', 'mypy', '.'], jobs);
  const report = join(scratch, 'pytest.xml');
  const code = await run('pytest', python, ['-m', 'pytest', '-q', `--junitxml=${report}`], { cwd: jobs });
  const text = await readFile(report, 'utf8').catch(() => '');
  const count = (name: string): number => Number(new RegExp(`<testsuite [^>]*${name}="(\\d+)"`).exec(text)?.[1] ?? 0);
  const failed = count('failures') + count('errors');
  const skipped = count('skipped');
  add('pytest', { passed: count('tests') - failed - skipped, failed: failed > 0 || code === 0 ? failed : 1, skipped });
}

try {
  if ((await run('prepare', process.execPath, ['--import', 'tsx', join('test', 'support', 'prepare.ts')])) !== 0) {
    throw new Error('the tests could not be prepared; the message above says what is missing');
  }
  await check('prettier', bin('prettier'), ['--check', '--log-level', 'warn', '.']);
  await check('types', bin('tsc'), ['-p', 'tsconfig.json']);
  await check('types of the sandbox', bin('tsc'), ['-p', 'workflows/tsconfig.json']);
  await check('eslint', bin('eslint'), ['.']);
  await check('knip', bin('knip'), []);
  await pytest();
  await jest();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  add('preparation', { passed: 0, failed: 1, skipped: 0 });
} finally {
  await rm(scratch, { recursive: true, force: true });
}
if (failures.length > 0) process.stdout.write(`\nfailed: ${failures.join(', ')}\n`);
process.stdout.write(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
