import { heartbeat } from '@temporalio/activity';

const EVERY_MS = 2_000;

/**
 * Heartbeats while one bounded call is in flight. `work` must have a deadline of its own: a heartbeat beside a wedged
 * call would hide it.
 */
export async function heartbeating<T>(work: () => Promise<T>, details?: unknown): Promise<T> {
  heartbeat(details);
  const timer = setInterval(() => {
    heartbeat(details);
  }, EVERY_MS);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}
