import type { Pacer } from './pacer.ts';
import { notSent, type CallFacts } from './to-error.ts';

export interface TurnOptions {
  /** Ends something that is paid for. */
  urgent: boolean;
  deadlineMs: number;
  /** Ends the wait for a turn. Once sent, a request is not taken back: its answer tells what was made. */
  signal?: AbortSignal | undefined;
}

/**
 * Waits for the request's turn; resolves with how long its answer may take. A read's deadline counts from sending, so
 * that waiting for a turn is never unclear. A create's counts from here: its caller stops expecting it then, and may by
 * then look for what it made, so a create whose turn comes later is not sent and rejects as `unavailable`.
 */
export async function takeTurn(pacer: Pacer, options: TurnOptions, facts: CallFacts): Promise<number> {
  const { urgent, deadlineMs, signal } = options;
  if (!facts.creates) {
    if (await pacer.turn({ urgent, ...(signal ? { signal } : {}) })) return deadlineMs;
    throw notSent('its caller gave up', facts);
  }
  // The wall clock goes on while a machine sleeps, which timers do not.
  const endMs = Date.now() + deadlineMs;
  const late = AbortSignal.timeout(Math.max(0, deadlineMs));
  const granted = await pacer.turn({ urgent, signal: signal ? AbortSignal.any([signal, late]) : late });
  const leftMs = endMs - Date.now();
  if (signal?.aborted) throw notSent('its caller gave up', facts);
  if (!granted || leftMs <= 0) throw notSent('its turn did not come before the deadline', facts);
  return leftMs;
}
