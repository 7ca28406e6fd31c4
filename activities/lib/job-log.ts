import type { RegistryPort } from '../../services/registry/port.ts';

/** At most one write in this time, of at most this size: five hundred followers share one database. */
const WRITE_EVERY_MS = 2_000;
const WRITE_BYTES = 65_536;
/** What waits for a database that is away; beyond it the oldest is left out. */
const WAITING_BYTES = 262_144;

interface Piece {
  from: number;
  to: number;
  text: string;
}

/**
 * Stores a job's log as it comes, at its own pace and in bounded memory. Offsets are bytes of the job's log.txt: storing a
 * piece again changes nothing, and what was left out shows as a gap when the log is read.
 */
export class JobLog {
  /** Up to here nothing needs to be read again. */
  storedTo: number;
  /** Up to here the channel has told. */
  heardTo: number;
  private readonly append: (from: number, text: string) => Promise<void>;
  private waiting: Piece[] = [];
  private writing: Promise<void> | null = null;
  private timer: NodeJS.Timeout | undefined;
  private nextWriteMs = 0;

  constructor(
    registry: Pick<RegistryPort, 'appendJobLog'>,
    job: { runId: string; jobId: string; podId: string },
    from: number,
  ) {
    this.storedTo = this.heardTo = from;
    this.append = (offset, text) => registry.appendJobLog(job.runId, job.jobId, offset, text, job.podId);
  }

  add(piece: Piece): void {
    if (piece.to <= this.heardTo) return;
    this.heardTo = piece.to;
    this.waiting.push(piece);
    while (this.waitingBytes() > WAITING_BYTES) this.waiting.shift();
    this.arm();
  }

  /** Writes what waits, without pauses. Rejects with the registry's error; what was not written then still waits. */
  async flush(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    await this.writing;
    while (this.waiting.length > 0) await this.writeSome();
  }

  /** Ends the pace of its own; `flush` before it to lose nothing. */
  close(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.waiting = [];
  }

  private waitingBytes(): number {
    return this.waiting.reduce((sum, { from, to }) => sum + to - from, 0);
  }

  private arm(): void {
    if (this.timer || this.waiting.length === 0) return;
    this.timer = setTimeout(
      () => {
        this.timer = undefined;
        this.nextWriteMs = Date.now() + WRITE_EVERY_MS;
        // A write that failed is made up for by the next.
        this.writing ??= this.writeSome()
          .catch(() => undefined)
          .finally(() => {
            this.writing = null;
            this.arm();
          });
      },
      Math.max(0, this.nextWriteMs - Date.now()),
    );
  }

  /** One write: pieces that follow each other, up to the size of one. */
  private async writeSome(): Promise<void> {
    const [first, ...rest] = this.waiting;
    if (!first) return;
    const pieces = [first];
    let { to } = first;
    for (const piece of rest) {
      if (piece.from !== to || piece.to - first.from > WRITE_BYTES) break;
      pieces.push(piece);
      ({ to } = piece);
    }
    await this.append(first.from, pieces.map(({ text }) => text).join(''));
    // The oldest may have been left out meanwhile.
    this.waiting = this.waiting.filter((piece) => piece.to > to);
    this.storedTo = to;
  }
}
