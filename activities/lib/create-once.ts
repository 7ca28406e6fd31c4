import { cancellationSignal } from '@temporalio/activity';
import { RunPodError } from '../../services/runpod/errors.ts';
import type { CreateOptions } from '../../services/runpod/port.ts';
import { heartbeating } from './heartbeat.ts';

/** Below every start-to-close timeout: an unanswered create becomes `CreateUncertain` while the activity still lives. */
const CREATE_DEADLINE_MS = 60_000;

/**
 * Sends one create of something billed. A cancel takes back a create that still waits for its turn, and is then what
 * this rejects with; one that has been sent is waited for, since its answer tells what was made.
 */
export async function createOnce<T>(create: (options: CreateOptions) => Promise<T>): Promise<T> {
  const signal = cancellationSignal();
  // Nothing has been sent yet: after a cancel nothing will be.
  signal.throwIfAborted();
  try {
    return await heartbeating(() => create({ deadlineMs: CREATE_DEADLINE_MS, signal }));
  } catch (error) {
    if (error instanceof RunPodError && error.code === 'NotSent') signal.throwIfAborted();
    throw error;
  }
}
