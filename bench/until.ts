import { setTimeout as delay } from 'node:timers/promises';

export interface UntilOptions {
  signal: AbortSignal;
  everyMs?: number;
  deadlineMs?: number;
}

/** Asks until there is an answer; throws when the deadline passes or the row is told to stop. */
export async function until<T>(
  what: string,
  ask: () => Promise<T | undefined | false>,
  { signal, everyMs = 50, deadlineMs = 120_000 }: UntilOptions,
): Promise<T> {
  const end = Date.now() + deadlineMs;
  for (;;) {
    signal.throwIfAborted();
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() > end) throw new Error(`never happened: ${what}`);
    await delay(everyMs);
  }
}
