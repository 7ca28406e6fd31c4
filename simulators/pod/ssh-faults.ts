import type { Socket } from 'node:net';
import { Transform, type Readable } from 'node:stream';
import type { FaultAction } from '../faults.ts';

/** When a connection is to be lost. */
export interface Cut {
  afterBytes?: number;
  afterMs?: number;
}

/** What a fault makes of one connection or command of a pod's SSH server; undefined = nothing. */
export type SshFault = Exclude<FaultAction, { kind: 'delay' }> | undefined;

export interface SshFaults {
  /** Asked once per TCP connection, before the server says anything. Delays are waited out. */
  connect(): Promise<SshFault>;
  /** Asked once per command, before it starts. */
  exec(): Promise<SshFault>;
}

/** One connection that can be lost at will, with what its commands still may write. */
export interface Line {
  /** Loses the connection after a time, or when one of its commands, running or to come, has written so much. */
  cut(cut: Cut): void;
  /** The command's output on its way to the channel, as long as the line holds. */
  pass(output: Readable): Readable;
}

export function createLine(socket: Socket): Line {
  let bytesLeft = Infinity;
  let timer: NodeJS.Timeout | null = null;
  socket.once('close', () => {
    if (timer !== null) clearTimeout(timer);
  });
  /** What was written before is sent; then both ends see the connection end. */
  const lose = (): void => {
    socket.destroySoon();
  };
  return {
    cut({ afterBytes, afterMs }) {
      if (afterBytes === undefined && afterMs === undefined) lose();
      if (afterBytes !== undefined) bytesLeft = Math.min(bytesLeft, afterBytes);
      if (afterMs !== undefined) timer ??= setTimeout(lose, afterMs);
    },
    pass(output) {
      const limited = new Transform({
        transform(chunk: Buffer, _encoding, done) {
          const part = chunk.subarray(0, bytesLeft);
          bytesLeft -= part.length;
          if (bytesLeft > 0) {
            done(null, part);
            return;
          }
          limited.push(part);
          // Behind what the channel has been given so far; nothing passes any more.
          setImmediate(lose);
        },
      });
      return output.pipe(limited);
    },
  };
}
