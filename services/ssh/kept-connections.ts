import type { Connection } from './connection.ts';

/** Long enough for the next call of a stage that follows at once, short enough that nothing lies about. */
const KEEP_MS = 10_000;

/**
 * Open connections that nobody uses at the moment, one per pod at most. A handshake costs a pod's round trips and both
 * sides' time, and a job takes four calls; one call at a time uses a connection, so that its end harms no other.
 */
export class KeptConnections {
  private readonly kept = new Map<string, { connection: Connection; timer: NodeJS.Timeout }>();

  /** Hands out what is kept, for the caller alone; undefined when there is nothing that works. */
  take(key: string): Connection | undefined {
    const found = this.kept.get(key);
    if (!found) return undefined;
    clearTimeout(found.timer);
    this.kept.delete(key);
    return found.connection.failure() === null ? found.connection : undefined;
  }

  /** Keeps a connection for the next call, or closes it where there is one already. */
  keep(key: string, connection: Connection): void {
    if (connection.failure() !== null) return;
    if (this.kept.has(key)) {
      connection.close();
      return;
    }
    const timer = setTimeout(() => {
      this.take(key)?.close();
    }, KEEP_MS).unref();
    this.kept.set(key, { connection, timer });
  }

  close(): void {
    for (const key of [...this.kept.keys()]) this.take(key)?.close();
  }
}
