import { heartbeat, sleep } from '@temporalio/activity';

/**
 * Asks until there is an answer or the deadline has passed (then undefined). Heartbeats before each question and ends at
 * once when the activity is cancelled.
 */
export async function poll<T>(
  ask: () => Promise<T | undefined>,
  { everyMs, deadlineMs, details }: { everyMs: number; deadlineMs: number; details?: () => unknown },
): Promise<T | undefined> {
  const end = Date.now() + deadlineMs;
  for (;;) {
    heartbeat(details?.());
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (Date.now() >= end) return undefined;
    await sleep(Math.max(1, Math.min(everyMs, end - Date.now())));
  }
}
