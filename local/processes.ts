import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, renameSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { LocalError, reasonOf } from './errors.ts';
import { identify, isAlive, type ProcessIdentity } from './identity.ts';

export { identify, isAlive, type ProcessIdentity } from './identity.ts';

const PROBE_INTERVAL_MS = 40;

export interface SpawnOptions {
  component: string;
  command: string;
  args: readonly string[];
  /** The whole environment of the process. Secrets go here, never into `args`. */
  env: NodeJS.ProcessEnv;
  cwd: string;
  /** Gets stdout and stderr; the log of the time before is kept beside it as `<logFile>.previous`. */
  logFile: string;
}

export interface StartedProcess {
  identity: ProcessIdentity;
  logFile: string;
  child: ChildProcess;
  /** How it ended, once it has; undefined before. */
  ended: () => string | undefined;
}

/** Starts a process that outlives this one, in its own session and with its output in a file. */
export async function spawnDetached(options: SpawnOptions): Promise<StartedProcess> {
  const { component, logFile } = options;
  mkdirSync(dirname(logFile), { recursive: true });
  try {
    renameSync(logFile, `${logFile}.previous`);
  } catch {
    // No log of an earlier start.
  }
  const output = openSync(logFile, 'a', 0o600);
  try {
    const child = spawn(options.command, options.args, {
      cwd: options.cwd,
      env: options.env,
      detached: true,
      stdio: ['ignore', output, output],
    });
    let end: string | undefined;
    child.once('exit', (code, signal) => (end = signal === null ? `exit code ${String(code)}` : `signal ${signal}`));
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (error) => {
        reject(new LocalError(component, `${component} could not be started: ${error.message}`));
      });
    });
    child.unref();
    const identity = child.pid === undefined ? null : await identify(child.pid);
    if (identity === null) throw new LocalError(component, await failureText(component, logFile, 'ended at once'));
    return { identity, logFile, child, ended: () => end };
  } finally {
    closeSync(output);
  }
}

/**
 * Asks `probe` until it gives a value. Ends early when the process ended; both that and the deadline give an error
 * with the end of its log.
 */
export async function waitUntilReady<T>(
  component: string,
  started: StartedProcess,
  probe: () => Promise<T | undefined>,
  deadlineMs: number,
  signal?: AbortSignal,
): Promise<T> {
  const until = Date.now() + deadlineMs;
  for (;;) {
    signal?.throwIfAborted();
    const ended = started.ended();
    const value = await probe();
    if (value !== undefined) return value;
    if (ended !== undefined)
      throw new LocalError(component, await failureText(component, started.logFile, `ended (${ended})`));
    if (Date.now() > until) {
      const seconds = String(Math.round(deadlineMs / 1000));
      throw new LocalError(
        component,
        await failureText(component, started.logFile, `was not ready after ${seconds} s`),
      );
    }
    await delay(PROBE_INTERVAL_MS, undefined, signal ? { signal } : {});
  }
}

async function failureText(component: string, logFile: string, what: string): Promise<string> {
  const tail = await logTail(logFile).catch(reasonOf);
  return `${component} ${what}. The end of ${logFile}:\n${tail === '' ? '(the log is empty)' : tail}`;
}

/** The last lines of a log. */
export async function logTail(logFile: string, lines = 20): Promise<string> {
  const file = await open(logFile, 'r');
  try {
    const { size } = await file.stat();
    const from = Math.max(0, size - 16_384);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from);
    return buffer.subarray(0, bytesRead).toString('utf8').trimEnd().split('\n').slice(-lines).join('\n');
  } finally {
    await file.close();
  }
}

export type EndOutcome = 'gone' | 'ended' | 'killed';

/**
 * Ends exactly this process: SIGTERM, and after `graceMs` SIGKILL to it and its process group (it leads one). A pid
 * that now belongs to a process with another start time is left alone: `gone`.
 */
export async function endProcess(identity: ProcessIdentity, { graceMs }: { graceMs: number }): Promise<EndOutcome> {
  if (!(await isAlive(identity))) return 'gone';
  sendSignal(identity.pid, 'SIGTERM');
  if (await hasEnded(identity, graceMs)) return 'ended';
  if (!(await isAlive(identity))) return 'ended';
  sendSignal(-identity.pid, 'SIGKILL');
  sendSignal(identity.pid, 'SIGKILL');
  if (await hasEnded(identity, 5_000)) return 'killed';
  throw new LocalError(
    'processes',
    `Process ${String(identity.pid)} does not end even by SIGKILL; look at it with ps.`,
  );
}

async function hasEnded(identity: ProcessIdentity, withinMs: number): Promise<boolean> {
  const until = Date.now() + withinMs;
  while (await isAlive(identity)) {
    if (Date.now() > until) return false;
    await delay(PROBE_INTERVAL_MS);
  }
  return true;
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended between the look and the signal, or leads no group.
  }
}
