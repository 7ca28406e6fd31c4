import { spawn } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

const OUTPUT_LIMIT = 20_000;

export interface CommandOptions {
  env: NodeJS.ProcessEnv;
  cwd?: string;
  timeoutMs: number;
  signal?: AbortSignal | undefined;
}

export interface CommandResult {
  ok: boolean;
  /** The end of stdout and stderr together, or why it could not run. */
  output: string;
}

/** Runs a program to its end. Only an abort throws; everything else is in the result. */
export async function runCommand(
  command: string,
  args: readonly string[],
  options: CommandOptions,
): Promise<CommandResult> {
  options.signal?.throwIfAborted();
  const child = spawn(command, args, {
    env: options.env,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let output = '';
  const take = (chunk: Buffer) => (output = (output + String(chunk)).slice(-OUTPUT_LIMIT));
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  let cause = '';
  // The group, because package managers and compilers start programs of their own.
  const stop = (why: string) => {
    cause = why;
    if (child.pid !== undefined) killGroup(child.pid);
  };
  const onAbort = () => {
    stop('aborted');
  };
  const timer = setTimeout(() => {
    stop(`no end after ${String(Math.round(options.timeoutMs / 1000))} s`);
  }, options.timeoutMs);
  options.signal?.addEventListener('abort', onAbort, { once: true });
  const ok = await new Promise<boolean>((resolve) => {
    child.once('error', (error) => {
      cause = error.message;
      resolve(false);
    });
    child.once('close', (code) => {
      resolve(code === 0 && cause === '');
    });
  });
  clearTimeout(timer);
  options.signal?.removeEventListener('abort', onAbort);
  options.signal?.throwIfAborted();
  return { ok, output: [output.trim(), cause].filter((text) => text !== '').join('\n') };
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It ended by itself.
  }
}

/** The first executable of this name on the PATH of `env`. */
export function findOnPath(name: string, env: NodeJS.ProcessEnv): string | undefined {
  const folders = (env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

export function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/** The last lines of a program's output on one line, for use inside a sentence. */
export const lastWords = (output: string, lines = 3): string =>
  output
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(-lines)
    .join(' | ')
    .slice(-600);
