/**
 * What a row has started and must end. Ends run newest first, all of them even when one fails. Something that is added
 * after the end (it was being started when the row was interrupted) is ended at once.
 */
export class Closing {
  private readonly ends: (() => Promise<unknown>)[] = [];
  private closed = false;

  /** Remembers how something just started is ended; throws, with it ended, when the row is over already. */
  async add(end: () => Promise<unknown>): Promise<void> {
    if (!this.closed) {
      this.ends.push(end);
      return;
    }
    await end();
    throw new Error('started after the end of its row; ended again');
  }

  /** Ends everything; resolves with what went wrong while doing so. */
  async close(): Promise<string[]> {
    this.closed = true;
    const faults: string[] = [];
    for (let end = this.ends.pop(); end; end = this.ends.pop()) {
      await end().catch((error: unknown) => faults.push(error instanceof Error ? error.message : String(error)));
    }
    return faults;
  }
}
