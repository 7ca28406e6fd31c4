import { condition, log } from '@temporalio/workflow';
import { formatMs, toMs } from '../../domain/duration.ts';
import { failure } from './failures.ts';
import { raced } from './race.ts';
import type { Run } from './run.ts';

/** A timer that is seen this much later than it was due says that no worker was there: nobody could have worked. */
const LATE_MS = 10_000;

/**
 * Does work on a rented pod as long as some job runs there. A pod that stands without one for `budget.idleStopAfter` ends
 * the work as `PodIdle`, unless the spec holds idle pods.
 */
export async function whileBusy<T>(run: Run, work: () => Promise<T>): Promise<T> {
  const { park, idleStopAfter } = run.requirePlan().spec.budget;
  if (park === 'hold') return work();
  const limitMs = toMs(idleStopAfter);
  const end = await raced(work, () => untilIdle(run, limitMs));
  if (end.kind === 'done') return end.value;
  throw failure('PodIdle', `the pod stood without a job for ${formatMs(limitMs)} during ${run.board.current()}`);
}

async function untilIdle(run: Run, limitMs: number): Promise<void> {
  for (;;) {
    await condition(() => run.activeJob === null);
    const since = Date.now();
    if (await condition(() => run.activeJob !== null, limitMs, { summary: 'idle pod' })) continue;
    if (Date.now() - since <= limitMs + LATE_MS) return;
    log.warn('no worker was there while the pod stood idle; waiting anew');
  }
}
