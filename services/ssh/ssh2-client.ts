import { connect, type Connection } from './connection.ts';
import { deriveBootValue, derivePodKey } from './derive-key.ts';
import { SshError } from './errors.ts';
import { runCommand, type RawResult } from './exec.ts';
import type { ExecOptions, SshPort, SshTarget } from './port.ts';
import { remoteError, streamCommand } from './stream.ts';

export interface SshOptions {
  /** Root of all pod keys and boot values. Never leaves this process. */
  masterKey: string;
  username?: string;
  /** Public key lines of people who may log in as well; appended to what {@link SshPort.publicKeyFor} returns. */
  operatorKeys?: readonly string[];
}

/** Longest wait for a connection of a stream, whose own limit is silence. */
const STREAM_CONNECT_TIMEOUT_MS = 20_000;

/** SSH by `ssh2`: one connection per call, closed when the call ends however it ends. */
export function createSsh({ masterKey, username = 'root', operatorKeys = [] }: SshOptions): SshPort {
  const open = (target: SshTarget, timeoutMs: number, signal?: AbortSignal): Promise<Connection> =>
    connect({
      address: target.address,
      username,
      privateKey: derivePodKey(masterKey, target.podName).privateKey,
      pinnedHostKey: target.pinnedHostKey,
      timeoutMs,
      signal,
    });

  const run = async (target: SshTarget, command: string, options: ExecOptions) => {
    const timeout = AbortSignal.timeout(options.timeoutMs);
    const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
    let connection: Connection | undefined;
    try {
      connection = await open(target, options.timeoutMs, signal);
      const result = await runCommand(connection, command, options);
      return { result, hostKey: connection.hostKey };
    } catch (error) {
      if (timeout.aborted && options.signal?.aborted !== true && (error as SshError).kind === 'connection') {
        throw new SshError(`the SSH call took longer than ${options.timeoutMs} ms`, 'connection');
      }
      throw error;
    } finally {
      connection?.close();
    }
  };

  return {
    async exec(target, command, options) {
      const { result, hostKey } = await run(target, command, options);
      const { exitCode, signal } = result;
      return {
        exitCode,
        signal,
        stdout: result.stdout.toString('utf8'),
        stderr: result.stderr.toString('utf8'),
        hostKey,
      };
    },

    async execBinary(target, command, options) {
      const { result } = await run(target, command, options);
      throwOnFailure(result);
      return result.stdout;
    },

    async *stream(target, command, { signal, ...limits }) {
      const connection = await open(target, STREAM_CONNECT_TIMEOUT_MS, signal);
      try {
        yield* streamCommand(connection, command, limits);
      } finally {
        connection.close();
      }
    },

    publicKeyFor: (podName) => [derivePodKey(masterKey, podName).publicKeyLine, ...operatorKeys].join('\n'),
    bootValueFor: (podName) => deriveBootValue(masterKey, podName),
  };
}

function throwOnFailure(result: RawResult): void {
  if (result.exitCode !== 0) throw remoteError(result, result.stderr.toString('utf8'));
}
