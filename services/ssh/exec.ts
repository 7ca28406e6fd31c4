import type { ClientChannel } from 'ssh2';
import type { Connection } from './connection.ts';
import { SshError } from './errors.ts';
import type { ExecOptions } from './port.ts';

export interface RawResult {
  exitCode: number | null;
  signal: string | null;
  stdout: Buffer;
  stderr: Buffer;
}

/** Enough for a job's checkpoint archive part; more means a command was not what it should be. */
const DEFAULT_MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

/**
 * Runs one command to its end on an open connection. Rejects with kind `connection` when the connection ends first,
 * when the output grows past the limit, or when the command ends without saying how.
 */
export async function runCommand(connection: Connection, command: string, options: ExecOptions): Promise<RawResult> {
  const channel = await connection.exec(command);
  const limit = options.maxOutputBytes ?? DEFAULT_MAX_OUTPUT_BYTES;
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  let size = 0;

  let unlisten = (): void => undefined;
  return new Promise<RawResult>((resolve, reject) => {
    let end: { exitCode: number | null; signal: string | null } | null = null;
    const collect = (into: Buffer[]) => (chunk: Buffer) => {
      size += chunk.length;
      if (size <= limit) into.push(chunk);
      else reject(new SshError(`the command wrote more than ${limit} bytes`, 'connection'));
    };
    channel.on('data', collect(stdout));
    channel.stderr.on('data', collect(stderr));
    channel.on('error', () => {
      reject(new SshError('the SSH channel failed', 'connection'));
    });
    onExit(channel, (exit) => {
      end = exit;
    });
    channel.on('close', () => {
      if (end === null)
        reject(connection.failure() ?? new SshError('the command ended without a status', 'connection'));
      else resolve({ ...end, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr) });
    });
    unlisten = connection.onEnd(() => {
      reject(connection.failure() ?? new SshError('the SSH connection was cut', 'connection'));
    });
    // A command that ends before reading all of stdin breaks the pipe; its exit status tells what happened.
    channel.stdin.on('error', () => undefined);
    channel.end(options.stdin ?? '');
  }).finally(() => {
    unlisten();
  });
}

/** ssh2 emits `(code)` for a plain exit and `(null, signal, …)` for a killed command. */
export function onExit(
  channel: ClientChannel,
  listener: (exit: { exitCode: number | null; signal: string | null }) => void,
): void {
  channel.on('exit', (code: number | null, signal?: string) => {
    listener({ exitCode: code, signal: signal ?? null });
  });
}
