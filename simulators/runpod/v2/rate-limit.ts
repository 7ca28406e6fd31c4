/** Requests of one key in a minute, an hour and a day. */
export interface RateLimits {
  perMinute: number;
  perHour: number;
  perDay: number;
}

/** `example` are the figures of RunPod's specification [D]; `generous` throttles no test. */
export const RATE_LIMITS = {
  generous: { perMinute: 100_000, perHour: 3_000_000, perDay: 50_000_000 },
  example: { perMinute: 60, perHour: 3_000, perDay: 50_000 },
} as const satisfies Record<string, RateLimits>;

export type RateLimitChoice = keyof typeof RATE_LIMITS | RateLimits;

export interface RateLimiter {
  /** Counts one request of a key. `exceeded` is null while it is within all limits. */
  take(key: string): { headers: Record<string, string>; exceeded: string | null };
  /** Other limits; counting starts anew. */
  limit(choice: RateLimitChoice): RateLimits;
}

const WINDOWS = [
  { name: 'minute', seconds: 60, of: 'perMinute' },
  { name: 'hour', seconds: 3_600, of: 'perHour' },
  { name: 'day', seconds: 86_400, of: 'perDay' },
] as const;

/** Fixed windows that begin with a key's first request; a refused request is not counted. */
export function createRateLimiter(choice: RateLimitChoice = 'generous'): RateLimiter {
  let limits: RateLimits = limitsOf(choice);
  const used = new Map<string, { startedAt: number; count: number }>();

  const look = (key: string) =>
    WINDOWS.map(({ name, seconds, of }) => {
      const id = `${name}:${key}`;
      const now = Date.now();
      const found = used.get(id);
      const window = found && now < found.startedAt + seconds * 1000 ? found : { startedAt: now, count: 0 };
      used.set(id, window);
      const resetSeconds = Math.max(1, Math.ceil((window.startedAt + seconds * 1000 - now) / 1000));
      return { name, seconds, quota: limits[of], window, resetSeconds };
    });

  return {
    take(key) {
      const windows = look(key);
      const spent = windows.filter(({ quota, window }) => window.count >= quota);
      // The longest window is the one to wait for.
      const exceeded = spent.at(-1) ?? null;
      if (exceeded === null) for (const { window } of windows) window.count += 1;
      const left = windows.map(
        ({ name, quota, window, resetSeconds }) => `"${name}";r=${Math.max(0, quota - window.count)};t=${resetSeconds}`,
      );
      const headers = {
        RateLimit: left.join(', '),
        'RateLimit-Policy': windows.map(({ name, quota, seconds }) => `"${name}";q=${quota};w=${seconds}`).join(', '),
        ...(exceeded === null ? {} : { 'Retry-After': String(exceeded.resetSeconds) }),
      };
      return { headers, exceeded: exceeded?.name ?? null };
    },
    limit(next) {
      limits = limitsOf(next);
      used.clear();
      return limits;
    },
  };
}

const limitsOf = (choice: RateLimitChoice): RateLimits =>
  typeof choice === 'string' ? RATE_LIMITS[choice] : { ...choice };
