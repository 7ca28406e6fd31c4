import { setMaxListeners } from 'node:events';
import { Closing } from './closing.ts';
import type { RowEnd } from './measure.ts';
import type { Row, RowContext } from './row.ts';

/** A row that is told to stop gives up what it waits for; only then are connections closed under it. */
const NOTICE_MS = 5_000;
/** What it was starting meanwhile ends itself, or is ended as it appears. */
const SETTLE_MS = 60_000;

type Given = Pick<RowContext, 'options' | 'say' | 'once'> & { interrupted: AbortSignal };

/** Runs one row and ends all it started, whatever happens. Never rejects. */
export async function runRow(row: Row, given: Given): Promise<RowEnd> {
  const { interrupted } = given;
  const stop = AbortSignal.any([interrupted, AbortSignal.timeout(row.limitMs)]);
  // Every call that is under way listens to it.
  setMaxListeners(0, stop);
  const closing = new Closing();
  const work = row.run({ ...given, signal: stop, closing }).then(
    (findings): RowEnd => ({ kind: 'measured', findings }),
    (error: unknown): RowEnd => ({ kind: 'failed', reason: reasonOf(error) }),
  );
  const end = await Promise.race([work, aborted(stop)]);
  if (!end) await Promise.race([work, pause(NOTICE_MS)]);
  const faults = await closing.close();
  if (!end) await Promise.race([work, pause(SETTLE_MS)]);
  faults.push(...(await closing.close()));
  if (interrupted.aborted) return { kind: 'interrupted', reason: 'interrupted' };
  if (!end) return { kind: 'failed', reason: `not done after ${Math.round(row.limitMs / 1_000)} s` };
  if (faults.length > 0) return { kind: 'failed', reason: `could not be ended: ${faults.join('; ')}` };
  return end;
}

const aborted = (signal: AbortSignal): Promise<undefined> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });

const pause = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });

/** The first line of an error with its causes: Temporal keeps the reason in the cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? '' : `: ${reasonOf(error.cause)}`;
  return `${error.message.trim().split('\n').slice(0, 4).join(' | ')}${cause}`;
}
