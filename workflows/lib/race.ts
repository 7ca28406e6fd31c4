import { CancellationScope, isCancellation, patched } from '@temporalio/workflow';
import { hasType } from './failures.ts';

export type Raced<T> = { kind: 'done'; value: T } | { kind: 'stopped' };

/**
 * Runs `work` until it ends or `until` resolves. Then `onStop` winds down what can be saved (it may let `work` finish),
 * and `work` is cancelled and awaited; so it is when the run is cancelled. What `work` throws is thrown; after `until`
 * only what it could not clear up.
 */
export async function raced<T>(
  work: () => Promise<T>,
  until: () => Promise<void>,
  onStop: () => Promise<void> = () => Promise.resolve(),
): Promise<Raced<T>> {
  const outer = CancellationScope.current();
  const scope = new CancellationScope();
  const watcher = new CancellationScope();
  const running = scope.run(work);
  const settled = running.then(
    () => 'done' as const,
    () => 'done' as const,
  );
  const stop = watcher.run(until);
  // A watcher that is cancelled says nothing: the work was cancelled with it, and may still be clearing up.
  const stopped = stop.then(
    () => 'stop' as const,
    (error: unknown) => {
      if (!isCancellation(error)) throw error;
      if (outer.consideredCancelled && !patched(AWAITS_CANCELLED_WORK)) throw error;
      return settled;
    },
  );
  stopped.catch(() => undefined);
  try {
    const first = await Promise.race([settled, stopped]);
    if (first === 'done') return { kind: 'done', value: await running };
    await onStop();
    scope.cancel();
    // Work that came to its end all the same is done: what it made must not be made again, or be forgotten.
    return await running.then(
      (value): Raced<T> => ({ kind: 'done', value }),
      (error: unknown): Raced<T> => {
        if (hasType(error, 'CleanupIncomplete')) throw error;
        return { kind: 'stopped' };
      },
    );
  } finally {
    watcher.cancel();
  }
}

/** Runs that were cancelled under an older version went on to their clean-up at once. */
const AWAITS_CANCELLED_WORK = 'race-awaits-cancelled-work';
