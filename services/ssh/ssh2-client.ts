import { connect, type Connection } from './connection.ts';
import { deriveBootValue, derivePodKey } from './derive-key.ts';
import { SshError } from './errors.ts';
import { runCommand, type RawResult } from './exec.ts';
import { KeptConnections } from './kept-connections.ts';
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

/**
 * SSH by `ssh2`. A call has its connection to itself; once the pod's host key is pinned, the next call may use it, too.
 * A call that fails, is aborted or takes too long closes it.
 */
export function createSsh({ masterKey, username = 'root', operatorKeys = [] }: SshOptions): SshPort {
  const idle = new KeptConnections();
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
    const key = keyOf(target);
    let connection: Connection | undefined;
    let release = (): void => undefined;
    try {
      connection = (key === null ? undefined : idle.take(key)) ?? (await open(target, options.timeoutMs, signal));
      release = closedBy(signal, connection);
      const result = await runCommand(connection, command, options);
      release();
      if (key === null) connection.close();
      else idle.keep(key, connection);
      return { result, hostKey: connection.hostKey };
    } catch (error) {
      release();
      connection?.close();
      if (timeout.aborted && options.signal?.aborted !== true && (error as SshError).kind === 'connection') {
        throw new SshError(`the SSH call took longer than ${options.timeoutMs} ms`, 'connection');
      }
      throw error;
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
      const key = keyOf(target);
      const taken = key === null ? undefined : idle.take(key);
      const connection = taken ?? (await open(target, STREAM_CONNECT_TIMEOUT_MS, signal));
      const release = closedBy(signal, connection);
      try {
        yield* streamCommand(connection, command, limits);
      } finally {
        release();
        if (key === null) connection.close();
        else idle.keep(key, connection);
      }
    },

    close: () => {
      idle.close();
    },
    publicKeyFor: (podName) => [derivePodKey(masterKey, podName).publicKeyLine, ...operatorKeys].join('\n'),
    bootValueFor: (podName) => deriveBootValue(masterKey, podName),
  };
}

/** What two calls must have in common to use one connection; null where the host has not proven who it is. */
const keyOf = ({ podName, address, pinnedHostKey }: SshTarget): string | null =>
  pinnedHostKey === null ? null : [podName, address.host, address.port, pinnedHostKey].join(' ');

/** Lets a signal close a connection until the returned function is called. */
function closedBy(signal: AbortSignal | undefined, connection: Connection): () => void {
  if (!signal) return () => undefined;
  const close = (): void => {
    connection.close();
  };
  if (signal.aborted) close();
  signal.addEventListener('abort', close, { once: true });
  return () => {
    signal.removeEventListener('abort', close);
  };
}

function throwOnFailure(result: RawResult): void {
  if (result.exitCode !== 0) throw remoteError(result, result.stderr.toString('utf8'));
}
