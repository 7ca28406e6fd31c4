import { CancellationScope } from '@temporalio/workflow';

export type Raced<T> = { kind: 'done'; value: T } | { kind: 'stopped' };

/**
 * Runs `work` until it ends or `until` resolves. Then `onStop` winds down what can be saved (it may let `work` finish),
 * and `work` is cancelled and awaited. What `work` throws is thrown, unless `until` came first.
 */
export async function raced<T>(
  work: () => Promise<T>,
  until: () => Promise<void>,
  onStop: () => Promise<void> = () => Promise.resolve(),
): Promise<Raced<T>> {
  const scope = new CancellationScope();
  const watcher = new CancellationScope();
  const running = scope.run(work);
  const settled = running.then(
    () => 'done' as const,
    () => 'done' as const,
  );
  const stop = watcher.run(until);
  stop.catch(() => undefined);
  try {
    const first = await Promise.race([settled, stop.then(() => 'stop' as const)]);
    if (first === 'done') return { kind: 'done', value: await running };
    await onStop();
    scope.cancel();
    // Work that came to its end all the same is done: what it made must not be made again, or be forgotten.
    return await running.then(
      (value): Raced<T> => ({ kind: 'done', value }),
      (): Raced<T> => ({ kind: 'stopped' }),
    );
  } finally {
    watcher.cancel();
  }
}
