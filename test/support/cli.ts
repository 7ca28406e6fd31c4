import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { repositoryRoot } from '../../local/paths.ts';

export interface CliResult {
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

/** The command line as a process of its own, as a person starts it. */
export function startCli(
  args: string[],
  options: { cwd: string; env: NodeJS.ProcessEnv },
): { child: ChildProcess; ended: Promise<CliResult>; output: () => string } {
  const child = spawn(process.execPath, [join(repositoryRoot(), 'bin', 'anneal.js'), ...args], {
    ...options,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  const ended = new Promise<CliResult>((resolve) => {
    child.once('close', (exitCode) => {
      resolve({ exitCode, stdout, stderr });
    });
  });
  return { child, ended, output: () => stdout + stderr };
}

export const runCli = (args: string[], options: { cwd: string; env: NodeJS.ProcessEnv }): Promise<CliResult> =>
  startCli(args, options).ended;

/** The environment of a person who has set nothing up: no keys, no addresses. */
export function bareEnvironment(): NodeJS.ProcessEnv {
  const foreign = /^(TEMPORAL_(ADDRESS|NAMESPACE|PROFILE|CONFIG_FILE)|RUNPOD_|HF_|ANNEAL_(?!PYTHON))/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !foreign.test(name)));
}
