import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { firstThatWorks } from './attempts.ts';
import { withBuildLock } from './build-lock.ts';
import type { Report } from './report.ts';
import { findOnPath, lastWords, runCommand } from './run-command.ts';
import { sdkServer } from './sdk-server.ts';

/** The newest tag `go install` can build: later ones carry replace directives. */
const VERSION = '1.5.1';
const MODULE = `github.com/temporalio/cli/cmd/temporal@v${VERSION}`;
const CHECK_MS = 15_000;
const BUILD_MS = 20 * 60_000;
const PROGRESS_MS = 5_000;
const COMPONENT = 'Temporal CLI';

export interface FindOptions {
  env: NodeJS.ProcessEnv;
  /** Anneal's cache folder, see `defaultCacheDir`. */
  cacheDir: string;
  report: Report;
  signal?: AbortSignal | undefined;
}

/** Where a built one is kept. */
export const cachedTemporalCli = (cacheDir: string): string => join(cacheDir, `temporal-cli-${VERSION}`, 'temporal');

type Found = { path: string } | { reason: string };

/** Path of a working `temporal`: as set, on PATH, cached, downloaded by the SDK, or built with Go into the cache. */
export async function findOrBuildTemporalCli(options: FindOptions): Promise<string> {
  const { env, cacheDir, report, signal } = options;
  const cached = cachedTemporalCli(cacheDir);
  const set = env['TEMPORAL_CLI_PATH'] ?? '';
  const onPath = findOnPath('temporal', env);
  const download = join(cacheDir, 'temporal-sdk-download');
  return firstThatWorks(
    COMPONENT,
    [
      {
        what: 'TEMPORAL_CLI_PATH',
        run: async () => {
          if (set === '') return { reason: 'not set' };
          const found = await check(set, env);
          // Falling back is right, but not in silence: somebody meant this one.
          if ('reason' in found)
            report({ component: COMPONENT, message: `TEMPORAL_CLI_PATH is not used: ${found.reason}` });
          return found;
        },
      },
      {
        what: '`temporal` on PATH',
        run: async () => (onPath === undefined ? { reason: 'not found' } : check(onPath, env)),
      },
      { what: `the cache (${cached})`, run: () => check(cached, env) },
      {
        what: "the SDK's own download",
        run: () => checked(sdkServer({ kind: 'dev-server', dir: download, env, signal }), env),
      },
      {
        what: `go install ${MODULE}`,
        run: () =>
          withBuildLock(`${dirname(cached)}.lock`, () => build(cached, options), {
            signal,
            onWait: ({ pid }) => {
              report({ component: COMPONENT, message: `waiting for process ${String(pid)}, which builds it` });
            },
          }),
      },
    ],
    'Install it (https://docs.temporal.io/cli) or Go 1.24 or newer, or set TEMPORAL_CLI_PATH to the program.',
  );
}

async function check(path: string, env: NodeJS.ProcessEnv): Promise<Found> {
  const result = await runCommand(path, ['--version'], { env, timeoutMs: CHECK_MS });
  if (result.ok && /temporal version/i.test(result.output)) return { path };
  return { reason: `\`${path} --version\` does not answer as expected: ${lastWords(result.output, 1)}` };
}

async function checked(finding: Promise<Found>, env: NodeJS.ProcessEnv): Promise<Found> {
  const found = await finding;
  return 'path' in found ? check(found.path, env) : found;
}

async function build(target: string, { env, cacheDir, report, signal }: FindOptions): Promise<Found> {
  // The process that held the lock before may have built it.
  const present = await check(target, env);
  if ('path' in present) return present;
  const go = findOnPath('go', env);
  if (go === undefined) return { reason: 'Go is not on PATH' };
  await mkdir(dirname(target), { recursive: true });
  const folder = await mkdtemp(join(cacheDir, 'temporal-build-'));
  const started = Date.now();
  const tell = () => {
    const seconds = String(Math.round((Date.now() - started) / 1000));
    report({
      component: COMPONENT,
      message: `building ${MODULE} with Go, ${seconds} s (usually 3–6 minutes on 2 cores)`,
    });
  };
  tell();
  const timer = setInterval(tell, PROGRESS_MS);
  try {
    const result = await runCommand(go, ['install', MODULE], {
      env: { ...env, GOBIN: folder },
      timeoutMs: BUILD_MS,
      signal,
    });
    if (!result.ok) return { reason: lastWords(result.output) };
    const built = await check(join(folder, 'temporal'), env);
    if ('reason' in built) return built;
    await rename(built.path, target);
    return { path: target };
  } finally {
    clearInterval(timer);
    await rm(folder, { recursive: true, force: true });
  }
}
