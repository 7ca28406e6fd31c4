import type { ApplicationFailure } from '@temporalio/common';
import {
  JOB_PROTOCOL_VERSION,
  supervisorLineSchema,
  type JobStartRequest,
  type SupervisorLine,
} from '../../contract/job-protocol.ts';
import { SshError } from '../../services/ssh/errors.ts';
import type { ExecResult, SshTarget } from '../../services/ssh/port.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { fail } from './to-failure.ts';

/** Product paths on a pod come from ANNEAL_WORKSPACE; SSH sessions on real pods do not see it, hence the default. */
export const POD_ROOT = '"${ANNEAL_WORKSPACE:-/workspace}/anneal"';

const EXEC_TIMEOUT_MS = 60_000;
const SHIP_TIMEOUT_MS = 120_000;

type Dependencies = Pick<ActivityDependencies, 'ssh' | 'jobCode'>;

/** A shell command that runs the supervisor of the given code version. */
export const supervisorCommand = (codeDigest: string, args: string): string =>
  `cd ${POD_ROOT}/code/${codeDigest} && exec python3 -m anneal_job ${args}`;

/** Puts the job code onto the pod unless this version is there. Atomic by rename, so a cut transfer leaves nothing half. */
export async function shipCode({ ssh, jobCode }: Dependencies, target: SshTarget): Promise<string> {
  const { digest, archive } = await jobCode();
  const there = await ssh.exec(target, `test -d ${POD_ROOT}/code/${digest}`, { timeoutMs: EXEC_TIMEOUT_MS });
  if (there.exitCode === 0) return digest;
  const unpack =
    `set -e; root=${POD_ROOT}/code; mkdir -p "$root"; tmp=$(mktemp -d "$root/.new-XXXXXX"); ` +
    `tar -xf - -C "$tmp"; mv "$tmp" "$root/${digest}" 2>/dev/null || test -d "$root/${digest}"`;
  const result = await ssh.exec(target, unpack, { stdin: archive, timeoutMs: SHIP_TIMEOUT_MS });
  if (result.exitCode !== 0)
    throw new SshError(`unpacking the job code failed: ${tail(result.stderr)}`, 'remote', result.exitCode);
  return digest;
}

/** Runs one supervisor command that answers with a single line. Its `error` line becomes a failure. */
export async function supervise(
  { ssh }: Dependencies,
  target: SshTarget,
  codeDigest: string,
  args: string,
  stdin?: JobStartRequest,
): Promise<{ line: SupervisorLine; hostKey: ExecResult['hostKey'] }> {
  const result = await ssh.exec(target, supervisorCommand(codeDigest, args), {
    timeoutMs: EXEC_TIMEOUT_MS,
    ...(stdin ? { stdin: JSON.stringify(stdin) } : {}),
  });
  const line = result.stdout.split('\n').find((text) => text.trim() !== '');
  if (line === undefined) {
    throw new SshError(
      `the supervisor said nothing (exit ${result.exitCode ?? result.signal ?? '?'}): ${tail(result.stderr)}`,
      'remote',
      result.exitCode,
    );
  }
  const parsed = parseLine(line);
  if (parsed.type === 'error') throw refused(parsed);
  return { line: parsed, hostKey: result.hostKey };
}

/** What to do about a job that was started by a worker of another version. */
const OTHER_VERSION_ADVICE =
  'let a worker of the version that started it finish the run; or cancel it and go on from its checkpoint with: anneal run resume <name>';

/** A supervisor's `error` line as the failure it stands for. */
export const refused = ({ code, message }: Extract<SupervisorLine, { type: 'error' }>): ApplicationFailure =>
  fail('JobFailed', `supervisor: ${message}`, {
    class: code,
    message,
    advice: code === 'ProtocolMismatch' ? OTHER_VERSION_ADVICE : '',
  });

/** One JSON line of the supervisor; an unreadable one means another protocol version than this worker speaks. */
export function parseLine(text: string): SupervisorLine {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw fail('JobFailed', `the supervisor's output is not JSON: ${tail(text)}`);
  }
  const parsed = supervisorLineSchema.safeParse(value);
  if (!parsed.success) {
    const message = `this worker speaks protocol ${JOB_PROTOCOL_VERSION}, the supervisor another one${versionIn(value)}: ${tail(text)}`;
    throw fail('JobFailed', message, { class: 'ProtocolMismatch', message, advice: OTHER_VERSION_ADVICE });
  }
  return parsed.data;
}

const versionIn = (value: unknown): string => {
  const protocol = (value as { protocol?: unknown } | null)?.protocol;
  return typeof protocol === 'number' ? ` (${protocol})` : '';
};

const tail = (text: string): string => text.trim().slice(-500);
