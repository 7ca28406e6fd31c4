import { createServer, connect, type Server, type Socket } from 'node:net';

/** A TCP relay whose network a test may break. Loopback only. */
export class Relay {
  /** Connections that were accepted so far. */
  accepted = 0;
  /** Bytes that went from the target to the caller. */
  bytesBack = 0;
  private readonly target: { host: string; port: number };
  private server: Server | null = null;
  private readonly pairs = new Map<Socket, Socket>();
  private port = 0;

  constructor(target: { host: string; port: number }) {
    this.target = target;
  }

  /** Opens it, on the port it had before. */
  async listen(): Promise<{ host: string; port: number }> {
    const server = createServer((near) => {
      this.accepted++;
      this.join(near);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.port, '127.0.0.1', resolve);
    });
    this.server = server;
    this.port = (server.address() as { port: number }).port;
    return { host: '127.0.0.1', port: this.port };
  }

  /** Cuts every connection; new ones are accepted. */
  cut(): void {
    for (const [near, far] of this.pairs) {
      near.destroy();
      far.destroy();
    }
    this.pairs.clear();
  }

  /** From now on open connections carry nothing and stay open, seen from the caller; the target sees them cut. */
  hang(): void {
    for (const [near, far] of this.pairs) {
      far.unpipe(near);
      near.unpipe(far);
      near.resume();
      far.removeAllListeners('close');
      far.destroy();
    }
  }

  /** Cuts every connection and refuses new ones. */
  async refuse(): Promise<void> {
    const { server } = this;
    this.server = null;
    const closed = server && new Promise((resolve) => server.close(resolve));
    this.cut();
    await closed;
  }

  private join(near: Socket): void {
    const far = connect(this.target.port, this.target.host);
    this.pairs.set(near, far);
    far.on('data', (data: Buffer) => (this.bytesBack += data.length));
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('error', () => to.destroy());
      from.on('close', () => to.destroy());
      from.pipe(to);
    }
    near.on('close', () => this.pairs.delete(near));
  }
}
