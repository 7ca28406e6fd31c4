import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultCacheDir, repositoryRoot } from '../../local/paths.ts';
import { ensurePythonEnv } from '../../local/python-env.ts';

export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

const root = repositoryRoot();
const jobs = join(root, 'jobs');

/** Runs a command with our terminal; resolves with its exit code. */
export function run(
  command: string,
  args: string[],
  { cwd = root, env = {} }: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: 'inherit' });
    child.once('error', reject);
    child.once('exit', (code) => {
      resolve(code ?? 1);
    });
  });
}

/** Makes what the suites share: Temporal's programs, the Python environments, the workflow bundle. */
export async function prepare(): Promise<void> {
  if ((await run(process.execPath, ['--import', 'tsx', join('test', 'support', 'prepare.ts')])) !== 0) {
    throw new Error('the tests could not be prepared; the message above says what is missing');
  }
}

/** Runs jest with `args`. A run that ends badly without naming a failed test counts as one. */
export async function jest(args: string[], env: NodeJS.ProcessEnv = {}): Promise<Counts> {
  return withReport('jest.json', async (report) => {
    const program = join(root, 'node_modules', 'jest', 'bin', 'jest.js');
    const all = ['--experimental-vm-modules', program, '--json', '--outputFile', report.path, ...args];
    const code = await run(process.execPath, all, { env });
    const text = await report.read();
    const result = (text === '' ? {} : JSON.parse(text)) as Record<string, number>;
    const failed = (result['numFailedTests'] ?? 0) + (result['numRuntimeErrorTestSuites'] ?? 0);
    return {
      passed: result['numPassedTests'] ?? 0,
      failed: failed > 0 || code === 0 ? failed : 1,
      skipped: (result['numPendingTests'] ?? 0) + (result['numTodoTests'] ?? 0),
    };
  });
}

/** The Python in which the jobs are checked and tested, made from its lock when it is not there. */
export const jobsPython = async (): Promise<string> =>
  (
    await ensurePythonEnv({
      cacheDir: defaultCacheDir(process.env),
      lockFile: join(jobs, 'locks', 'dev.txt'),
      report: ({ component, message }) => process.stdout.write(`prepare: ${component}: ${message}\n`),
    })
  ).python;

/** Runs pytest over the jobs, with `args`. */
export async function pytest(python: string, args: string[], env: NodeJS.ProcessEnv = {}): Promise<Counts> {
  return withReport('pytest.xml', async (report) => {
    const all = ['-m', 'pytest', `--junitxml=${report.path}`, ...args];
    const code = await run(python, all, { cwd: jobs, env });
    const text = await report.read();
    const count = (name: string): number => Number(new RegExp(`<testsuite [^>]*${name}="(\\d+)"`).exec(text)?.[1] ?? 0);
    const failed = count('failures') + count('errors');
    const skipped = count('skipped');
    return { passed: count('tests') - failed - skipped, failed: failed > 0 || code === 0 ? failed : 1, skipped };
  });
}

/** Sums what suites report, names those that failed, and sets the exit code. */
export class Sum {
  private readonly total: Counts = { passed: 0, failed: 0, skipped: 0 };
  private readonly failures: string[] = [];

  add(name: string, { passed, failed, skipped }: Counts): void {
    this.total.passed += passed;
    this.total.failed += failed;
    this.total.skipped += skipped;
    if (failed > 0) this.failures.push(name);
  }

  /** Counts as one failure what kept the suites from running. */
  broke(error: unknown): void {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    this.add('preparation', { passed: 0, failed: 1, skipped: 0 });
  }

  /** Ends with the line `N passed, N failed, N skipped`; nothing that ran is a failure, too. */
  report(): void {
    const { passed, failed, skipped } = this.total;
    if (this.failures.length > 0) process.stdout.write(`\nfailed: ${this.failures.join(', ')}\n`);
    process.stdout.write(`\n${passed} passed, ${failed} failed, ${skipped} skipped\n`);
    process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
  }
}

interface Report {
  path: string;
  /** Empty when the runner ended before it wrote one. */
  read: () => Promise<string>;
}

async function withReport<T>(name: string, work: (report: Report) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'anneal-report-'));
  const path = join(folder, name);
  try {
    return await work({ path, read: () => readFile(path, 'utf8').catch(() => '') });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
