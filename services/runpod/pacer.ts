import type { RateWindow } from './rate-limit.ts';

/** How often a provider may be asked: a bucket of `burst` requests that refills at `perSecond`. */
export interface Pace {
  perSecond: number;
  burst: number;
}

/** A refusal for asking too often holds everything back for this long when the provider does not say how long. */
const UNTOLD_PAUSE_MS = 5_000;
/** An absurd `Retry-After` must not stop the ending of pods for hours; nor must an empty window stop the asking. */
const LONGEST_PAUSE_MS = 60_000;
/** The last requests of every window belong to what ends rented things. */
const KEPT_FOR_URGENT = 3;

interface Waiter {
  go(): void;
}

/** A window as last heard, less what has been sent since. */
interface Allowance {
  remaining: number;
  resetsAtMs: number;
  quota: number | null;
}

/**
 * A client-side token bucket: everybody in this process who asks one provider takes a turn here. What ends rented things
 * goes first. A provider that says "too many requests" halves the pace; every minute without such a word doubles it
 * again, up to what was configured. A provider that tells its allowance is believed before it has to refuse: when a
 * window runs low, what is left of it is spread over the time until it resets.
 */
export class Pacer {
  private readonly pace: Pace;
  private readonly now: () => number;
  private readonly urgent: Waiter[] = [];
  private readonly ordinary: Waiter[] = [];
  private readonly windows = new Map<string, Allowance>();
  private tokens: number;
  private filledAtMs: number;
  private perSecond: number;
  private slowedAtMs = -Infinity;
  private pausedUntilMs = -Infinity;
  private lastOrdinaryAtMs: number;
  private timer: NodeJS.Timeout | null = null;

  constructor(pace: Pace, now: () => number = () => performance.now()) {
    this.pace = pace;
    this.now = now;
    this.perSecond = pace.perSecond;
    this.tokens = pace.burst;
    this.filledAtMs = now();
    this.lastOrdinaryAtMs = this.filledAtMs;
  }

  /** Resolves with true when it is this request's turn, with false when `signal` is aborted before that. */
  turn({ urgent, signal }: { urgent: boolean; signal?: AbortSignal }): Promise<boolean> {
    if (signal?.aborted) return Promise.resolve(false);
    const queue = urgent ? this.urgent : this.ordinary;
    return new Promise((resolve) => {
      const giveUp = (): void => {
        const at = queue.indexOf(waiter);
        if (at >= 0) queue.splice(at, 1);
        if (this.urgent.length + this.ordinary.length === 0) this.sleep();
        resolve(false);
      };
      const waiter: Waiter = {
        go() {
          signal?.removeEventListener('abort', giveUp);
          resolve(true);
        },
      };
      signal?.addEventListener('abort', giveUp, { once: true });
      queue.push(waiter);
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

  /** The provider told what is left of its windows. */
  heard(windows: readonly RateWindow[]): void {
    const now = this.now();
    for (const { name, remaining, resetMs, quota } of windows) {
      const known = this.windows.get(name);
      const resetsAtMs = now + resetMs;
      // Answers overtake each other: within one window, told in whole seconds, the allowance only shrinks.
      const same = known !== undefined && resetsAtMs - known.resetsAtMs < 2_000;
      this.windows.set(name, { remaining: same ? Math.min(known.remaining, remaining) : remaining, resetsAtMs, quota });
    }
  }

  private serve(): void {
    const now = this.now();
    this.refill(now);
    while (this.tokens >= 1 && now >= this.pausedUntilMs) {
      const next = this.urgent.shift() ?? this.nextOrdinary(now);
      if (!next) break;
      this.tokens -= 1;
      for (const window of this.windows.values()) window.remaining = Math.max(0, window.remaining - 1);
      next.go();
    }
    this.wakeUp(now);
  }

  private nextOrdinary(now: number): Waiter | undefined {
    if (now < this.ordinaryFromMs(now)) return undefined;
    const next = this.ordinary.shift();
    if (next) this.lastOrdinaryAtMs = now;
    return next;
  }

  private wakeUp(now: number): void {
    if (this.urgent.length + this.ordinary.length === 0) return;
    const tokenAtMs = now + (this.tokens >= 1 ? 0 : ((1 - this.tokens) / this.perSecond) * 1_000);
    const windowAtMs = this.urgent.length > 0 ? now : this.ordinaryFromMs(now);
    const atMs = Math.max(tokenAtMs, this.pausedUntilMs, windowAtMs);
    // Something urgent may have come since the timer was set.
    this.sleep();
    this.timer = setTimeout(
      () => {
        this.timer = null;
        this.serve();
      },
      Math.ceil(Math.max(0, atMs - now)),
    );
  }

  private sleep(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }

  /** When the windows let the next request go that is not urgent. */
  private ordinaryFromMs(now: number): number {
    let fromMs = -Infinity;
    for (const [name, { remaining, resetsAtMs, quota }] of this.windows) {
      const leftMs = resetsAtMs - now;
      if (leftMs <= 0) {
        this.windows.delete(name);
        continue;
      }
      const free = remaining - KEPT_FOR_URGENT;
      const enough = free >= this.perSecond * (leftMs / 1_000) || (quota !== null && remaining > quota / 2);
      if (enough) continue;
      // Evenly: with nothing free, when the window resets.
      const gapMs = (resetsAtMs - this.lastOrdinaryAtMs) / (Math.max(0, free) + 1);
      fromMs = Math.max(fromMs, this.lastOrdinaryAtMs + gapMs);
    }
    return Math.min(fromMs, this.lastOrdinaryAtMs + LONGEST_PAUSE_MS);
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
