interface Read {
  askedAtMs: number;
  answer: Promise<unknown>;
  underWay: boolean;
}

/**
 * One request for everybody who reads the same thing at the same time, and, with `keepMs`, for those who come soon after
 * it was asked. Whoever changes what is read says `forget`: nobody is answered from before a change of our own. A failed
 * read is not kept.
 */
export class SharedReads {
  private readonly keepMs: number;
  private readonly now: () => number;
  private readonly reads = new Map<string, Read>();

  constructor(keepMs = 0, now: () => number = () => performance.now()) {
    this.keepMs = keepMs;
    this.now = now;
  }

  get<T>(key: string, read: () => Promise<T>): Promise<T> {
    const known = this.reads.get(key);
    if (known && (known.underWay || this.now() - known.askedAtMs < this.keepMs)) return known.answer as Promise<T>;
    const answer = read();
    const fresh: Read = { askedAtMs: this.now(), answer, underWay: true };
    this.reads.set(key, fresh);
    const end = (failed: boolean): void => {
      fresh.underWay = false;
      if (failed && this.reads.get(key) === fresh) this.reads.delete(key);
    };
    answer.then(
      () => {
        end(false);
      },
      () => {
        end(true);
      },
    );
    return answer;
  }

  forget(): void {
    this.reads.clear();
  }
}
