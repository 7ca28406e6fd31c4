import { messageOf } from './error-text.ts';

/** Every call to the Hub ends within this time, body included. */
export const HUB_DEADLINE_MS = 30_000;

/** What went wrong on the wire during one operation, beyond what the client library's errors keep. */
export interface WireTrouble {
  status: number | null;
  /** `X-Error-Code`. */
  code: string | null;
  /** `X-Error-Message`. */
  message: string | null;
  retryAfterMs: number | null;
}

export interface ObservedFetch {
  fetch: typeof fetch;
  /** The last refusal (any status of 400 and above) or broken connection; null when there was none. */
  trouble(): WireTrouble | null;
  /** The last trouble that is not a 404: client functions that probe for files swallow those. */
  hardTrouble(): WireTrouble | null;
}

/** A `fetch` with a deadline that remembers refusals, for the length of one operation. */
export function observeFetch(inner: typeof fetch): ObservedFetch {
  const seen: WireTrouble[] = [];
  return {
    trouble: () => seen.at(-1) ?? null,
    hardTrouble: () => seen.findLast(({ status }) => status !== 404) ?? null,
    fetch: async (input, init) => {
      const deadline = AbortSignal.timeout(HUB_DEADLINE_MS);
      const signal = init?.signal ? AbortSignal.any([init.signal, deadline]) : deadline;
      let response: Response;
      try {
        response = await inner(input, { ...init, signal });
      } catch (error) {
        seen.push({ status: null, code: null, message: describe(error), retryAfterMs: null });
        throw error;
      }
      if (response.status >= 400) {
        seen.push({
          status: response.status,
          code: response.headers.get('X-Error-Code'),
          message: response.headers.get('X-Error-Message'),
          retryAfterMs: readRetryAfter(response.headers),
        });
      }
      return response;
    },
  };
}

/** `RateLimit: "api";r=0;t=55` (seconds until the window ends) before `Retry-After` (seconds or a date). */
export function readRetryAfter(headers: Headers, nowMs = Date.now()): number | null {
  const window = /(?:^|;)\s*t=(\d+)/.exec(headers.get('RateLimit') ?? '')?.[1];
  if (window !== undefined) return Number(window) * 1000;
  const retryAfter = headers.get('Retry-After');
  if (retryAfter === null) return null;
  const delayMs = /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1000 : Date.parse(retryAfter) - nowMs;
  return Number.isNaN(delayMs) ? null : Math.max(0, delayMs);
}

/** `fetch failed` alone says nothing; the cause says which connection failed and how. */
function describe(error: unknown): string {
  const cause = (error as { cause?: unknown } | null)?.cause;
  return cause === undefined ? messageOf(error) : `${messageOf(error)}: ${messageOf(cause)}`;
}
