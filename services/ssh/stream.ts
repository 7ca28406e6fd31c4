import type { Connection } from './connection.ts';
import { SshError } from './errors.ts';
import { onExit } from './exec.ts';

export interface StreamLimits {
  idleTimeoutMs: number;
  maxLineBytes: number;
}

const STDERR_TAIL = 500;

/**
 * Yields a command's stdout line by line; the channel is read only as fast as lines are taken. A non-zero exit ends
 * it with kind `remote`, a broken or silent channel with kind `connection`. Ends its channel however it ends; the
 * connection is the caller's.
 */
export async function* streamCommand(
  connection: Connection,
  command: string,
  { idleTimeoutMs, maxLineBytes }: StreamLimits,
): AsyncGenerator<string, void, undefined> {
  const channel = await connection.exec(command);
  let exit: { exitCode: number | null; signal: string | null } | null = null;
  let stderr = '';
  let idle = false;
  onExit(channel, (value) => {
    exit = value;
  });
  channel.stderr.on('data', (chunk: Buffer) => {
    stderr = (stderr + chunk.toString('utf8')).slice(-STDERR_TAIL);
  });
  const unlisten = connection.onEnd(() => {
    channel.destroy();
  });
  channel.stdin.end();

  let timer: NodeJS.Timeout | undefined;
  const rearm = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      idle = true;
      connection.close();
    }, idleTimeoutMs);
  };
  try {
    rearm();
    let rest: Buffer = Buffer.alloc(0);
    const iterator = (channel as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
    for (;;) {
      const next = await iterator.next();
      if (next.done === true) break;
      rest = rest.length === 0 ? next.value : Buffer.concat([rest, next.value]);
      for (let at = rest.indexOf(10); at >= 0; at = rest.indexOf(10)) {
        if (at > maxLineBytes) throw tooLong(maxLineBytes);
        const line = rest.subarray(0, at).toString('utf8');
        rest = rest.subarray(at + 1);
        // While the consumer works nothing is read, so its time is not the channel's silence.
        clearTimeout(timer);
        yield line;
        rearm();
      }
      if (rest.length > maxLineBytes) throw tooLong(maxLineBytes);
    }
    if (rest.length > 0 && exit !== null) yield rest.toString('utf8');
  } catch (error) {
    if (error instanceof SshError) throw error;
    throw broken(connection, idle, idleTimeoutMs);
  } finally {
    clearTimeout(timer);
    unlisten();
    channel.destroy();
  }
  const ended = exit as { exitCode: number | null; signal: string | null } | null;
  if (ended === null) throw broken(connection, idle, idleTimeoutMs);
  if (ended.exitCode !== 0) throw remoteError(ended, stderr);
}

const tooLong = (limit: number) => new SshError(`a line was longer than ${limit} bytes`, 'connection');

function broken(connection: Connection, idle: boolean, idleTimeoutMs: number): SshError {
  if (idle) return new SshError(`the command said nothing for ${idleTimeoutMs} ms`, 'connection');
  return connection.failure() ?? new SshError('the SSH channel was cut', 'connection');
}

/** What a failed command leaves for people: how it ended and the last of its stderr. */
export function remoteError(exit: { exitCode: number | null; signal: string | null }, stderr: string): SshError {
  const how = exit.exitCode === null ? `was ended by ${exit.signal ?? 'a signal'}` : `exited with ${exit.exitCode}`;
  const tail = stderr.trim().slice(-STDERR_TAIL);
  return new SshError(`the command ${how}${tail ? `: ${tail}` : ''}`, 'remote', exit.exitCode);
}
