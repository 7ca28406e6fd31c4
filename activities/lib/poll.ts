import { sleep } from '@temporalio/activity';
import { heartbeating } from './heartbeat.ts';

/**
 * Asks until there is an answer or the deadline has passed (then undefined). Heartbeats while a question is under way,
 * which has a deadline of its own, and ends at once when the activity is cancelled.
 */
export async function poll<T>(
  ask: () => Promise<T | undefined>,
  { everyMs, deadlineMs, details }: { everyMs: number; deadlineMs: number; details?: () => unknown },
): Promise<T | undefined> {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const answer = await heartbeating(ask, details?.());
    if (answer !== undefined) return answer;
    if (Date.now() >= end) return undefined;
    await sleep(Math.max(1, Math.min(everyMs, end - Date.now())));
  }
}
