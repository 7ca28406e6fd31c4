import { createHash } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { withBuildLock } from './build-lock.ts';
import { LocalError } from './errors.ts';
import type { Report } from './report.ts';
import { findOnPath, lastWords, runCommand } from './run-command.ts';

const COMPONENT = 'python';
const CANDIDATES = ['python3', 'python3.13', 'python3.12', 'python3.11', 'python3.10'];
/** What `huggingface_hub` 2.x needs. */
const MINIMUM = [3, 10] as const;
const INSTALL_MS = 10 * 60_000;
const QUICK_MS = 15_000;
/** The last word is the interpreter behind a virtual environment: the same one gives the same environment. */
const ASK =
  'import os, sys; v = sys.version_info; b = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable); ' +
  'print(v[0], v[1], ".".join(map(str, v[:3])), b)';

export interface PythonEnvOptions {
  cacheDir: string;
  /** A pip requirements file with exact versions. */
  lockFile: string;
  /** Installs what the lock file names and nothing that it asks for: for a package that asks for more than is used. */
  noDeps?: boolean;
  report: Report;
  env?: NodeJS.ProcessEnv;
  signal?: AbortSignal | undefined;
}

export interface PythonEnv {
  python: string;
  binDir: string;
}

interface Interpreter {
  path: string;
  version: string;
}

/**
 * A virtual environment with what the lock file names, made once per lock content and Python version. It is built in
 * place, since such environments do not survive being moved; the marker, written last, tells a whole one from a torso.
 */
export async function ensurePythonEnv(options: PythonEnvOptions): Promise<PythonEnv> {
  const { cacheDir, lockFile, report, signal } = options;
  const env = options.env ?? process.env;
  const interpreter = await findPython(env);
  const lock = await readFile(lockFile, 'utf8').catch(() => {
    throw new LocalError(COMPONENT, `The lock file ${lockFile} is missing; is the checkout complete?`);
  });
  const key = createHash('sha256')
    .update(`${interpreter.path}\n${interpreter.version}\n${lock}`)
    .digest('hex')
    .slice(0, 16);
  const folder = join(cacheDir, `python-${key}`);
  const result = { python: join(folder, 'bin', 'python'), binDir: join(folder, 'bin') };
  if (await isComplete(folder, result.python, env)) return result;
  await withBuildLock(
    `${folder}.lock`,
    async () => {
      if (await isComplete(folder, result.python, env)) return;
      report({ component: COMPONENT, message: `making an environment with Python ${interpreter.version}` });
      await build(folder, interpreter, options, env);
    },
    {
      signal,
      onWait: ({ pid }) => {
        report({ component: COMPONENT, message: `waiting for process ${String(pid)}` });
      },
    },
  );
  return result;
}

/** The first Python that is new enough; ANNEAL_PYTHON, when set, is the only candidate. */
export async function findPython(env: NodeJS.ProcessEnv): Promise<Interpreter> {
  const set = env['ANNEAL_PYTHON'] ?? '';
  const candidates = set === '' ? CANDIDATES : [set];
  const reasons: string[] = [];
  for (const name of candidates) {
    const path = name.includes('/') ? name : findOnPath(name, env);
    if (path === undefined) {
      reasons.push(`${name}: not found`);
      continue;
    }
    const { ok, output } = await runCommand(path, ['-c', ASK], { env, timeoutMs: QUICK_MS });
    const [major = 0, minor = 0] = output.split(' ').map(Number);
    const [, , version = '', ...base] = output.split(' ');
    if (ok && (major > MINIMUM[0] || (major === MINIMUM[0] && minor >= MINIMUM[1]))) {
      return { path: base.length > 0 ? base.join(' ') : path, version };
    }
    reasons.push(`${path}: ${ok ? `is ${version}` : lastWords(output, 1)}`);
  }
  throw new LocalError(
    COMPONENT,
    `Python ${MINIMUM.join('.')} or newer is needed. Tried ${reasons.join('; ')}. ` +
      'Install it (Debian, Ubuntu: `apt install python3 python3-venv`; macOS: `brew install python`) or set ANNEAL_PYTHON.',
  );
}

const marker = (folder: string): string => join(folder, 'anneal-complete');

async function isComplete(folder: string, python: string, env: NodeJS.ProcessEnv): Promise<boolean> {
  if ((await readFile(marker(folder), 'utf8').catch(() => undefined)) === undefined) return false;
  // The interpreter it points to may have been removed since.
  return (await runCommand(python, ['-c', ''], { env, timeoutMs: QUICK_MS })).ok;
}

async function build(
  folder: string,
  { path, version }: Interpreter,
  options: PythonEnvOptions,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  const { lockFile, noDeps = false, signal } = options;
  await rm(folder, { recursive: true, force: true });
  const venv = await runCommand(path, ['-m', 'venv', folder], { env, timeoutMs: INSTALL_MS, signal });
  if (!venv.ok) {
    await rm(folder, { recursive: true, force: true });
    const minor = version.split('.').slice(0, 2).join('.');
    throw new LocalError(
      COMPONENT,
      `Python ${version} cannot make a virtual environment: ${lastWords(venv.output)}. ` +
        `Install its venv module (Debian, Ubuntu: \`apt install python${minor}-venv\`).`,
    );
  }
  const args = ['-m', 'pip', 'install', '--disable-pip-version-check', '--no-input', '--quiet', '-r', lockFile];
  if (noDeps) args.push('--no-deps');
  const pip = await runCommand(join(folder, 'bin', 'python'), args, { env, timeoutMs: INSTALL_MS, signal });
  if (!pip.ok) {
    throw new LocalError(
      COMPONENT,
      `pip could not install ${lockFile}:\n${lastWords(pip.output, 10)}\nCheck that pip reaches a package index (\`pip config list\`), then repeat.`,
    );
  }
  await writeFile(marker(folder), `${version}\n`);
}
