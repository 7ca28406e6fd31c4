/** How often a provider may be asked: a bucket of `burst` requests that refills at `perSecond`. */
export interface Pace {
  perSecond: number;
  burst: number;
}

/** A refusal for asking too often holds everything back for this long when the provider does not say how long. */
const UNTOLD_PAUSE_MS = 5_000;
/** An absurd `Retry-After` must not stop the ending of pods for hours. */
const LONGEST_PAUSE_MS = 60_000;

/**
 * A client-side token bucket: everybody in this process who asks one provider takes a turn here. What ends rented things
 * goes first. A provider that says "too many requests" halves the pace; every minute without such a word doubles it
 * again, up to what was configured.
 */
export class Pacer {
  private readonly pace: Pace;
  private readonly now: () => number;
  private readonly urgent: (() => void)[] = [];
  private readonly ordinary: (() => void)[] = [];
  private tokens: number;
  private filledAtMs: number;
  private perSecond: number;
  private slowedAtMs = -Infinity;
  private pausedUntilMs = -Infinity;
  private timer: NodeJS.Timeout | null = null;

  constructor(pace: Pace, now: () => number = () => performance.now()) {
    this.pace = pace;
    this.now = now;
    this.perSecond = pace.perSecond;
    this.tokens = pace.burst;
    this.filledAtMs = now();
  }

  /** Resolves when it is this request's turn. */
  turn({ urgent }: { urgent: boolean }): Promise<void> {
    return new Promise((resolve) => {
      (urgent ? this.urgent : this.ordinary).push(resolve);
      this.serve();
    });
  }

  /** The provider refused a request for asking too often. */
  tooMany(retryAfterMs: number | null): void {
    const now = this.now();
    this.refill(now);
    this.pausedUntilMs = Math.max(
      this.pausedUntilMs,
      now + Math.min(retryAfterMs ?? UNTOLD_PAUSE_MS, LONGEST_PAUSE_MS),
    );
    // Requests that were under way together are refused together: they are one word, not many.
    if (now - this.slowedAtMs > 1_000) this.perSecond = Math.max(this.pace.perSecond / 16, this.perSecond / 2);
    this.slowedAtMs = now;
    // Nothing is saved up meanwhile: a burst right after a complaint would only bring the next one.
    this.tokens = Math.min(this.tokens, 1);
    this.filledAtMs = this.pausedUntilMs;
  }

  private serve(): void {
    const now = this.now();
    this.refill(now);
    while (this.tokens >= 1 && now >= this.pausedUntilMs) {
      const next = this.urgent.shift() ?? this.ordinary.shift();
      if (!next) return;
      this.tokens -= 1;
      next();
    }
    if (this.timer !== null || this.urgent.length + this.ordinary.length === 0) return;
    const untilToken = this.tokens >= 1 ? 0 : ((1 - this.tokens) / this.perSecond) * 1_000;
    this.timer = setTimeout(
      () => {
        this.timer = null;
        this.serve();
      },
      Math.ceil(Math.max(untilToken, this.pausedUntilMs - now)),
    );
  }

  private refill(now: number): void {
    const healthyMinutes = Math.floor((now - this.slowedAtMs) / 60_000);
    if (this.perSecond < this.pace.perSecond && healthyMinutes >= 1) {
      this.perSecond = Math.min(this.pace.perSecond, this.perSecond * 2 ** healthyMinutes);
      this.slowedAtMs = now;
    }
    if (now <= this.filledAtMs) return;
    this.tokens = Math.min(this.pace.burst, this.tokens + ((now - this.filledAtMs) / 1_000) * this.perSecond);
    this.filledAtMs = now;
  }
}
