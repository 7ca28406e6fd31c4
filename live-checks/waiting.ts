import { setTimeout as sleep } from 'node:timers/promises';
import { unlessRefused } from '../activities/lib/pod-facts.ts';

const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 3_000;

/** Pauses that grow: quick answers are timed well, slow ones cost few requests. */
export function* pauses(): Generator<number, never> {
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(LONGEST_PAUSE_MS, pause * 1.5)) yield pause;
}

/**
 * Asks until there is an answer; undefined once the time is over. A provider that is away for the moment has not answered.
 * Rejects with the signal's reason when it is aborted, and with every other failure.
 */
export async function until<T>(
  ask: () => Promise<T | undefined>,
  { withinMs, signal }: { withinMs: number; signal: AbortSignal },
): Promise<T | undefined> {
  const end = Date.now() + withinMs;
  for (const pause of pauses()) {
    signal.throwIfAborted();
    const answer = await ask().catch(unlessRefused);
    if (answer !== undefined) return answer;
    if (Date.now() >= end) return undefined;
    // The signal's own reason is thrown above; a timer's would say less.
    await sleep(pause, undefined, { signal }).catch(() => undefined);
  }
  return undefined;
}

export const reasonOf = (error: unknown): string => {
  const { name } = (error ?? {}) as { name?: unknown };
  if (name === 'AbortError') return 'interrupted';
  if (name === 'TimeoutError') return 'its time was over';
  return error instanceof Error ? error.message : String(error);
};
