import { CancellationScope, log } from '@temporalio/workflow';
import type { ReadyPod } from '../../contract/stages.ts';
import { toMs } from '../../domain/duration.ts';
import { ZERO_USD } from '../../domain/money.ts';
import { moveDeadline } from '../activity-proxies.ts';
import type { Run } from './run.ts';

/** Bounds what a lost run may hold even where money would last longer. */
const LONGEST_MS = toMs('7d');
/** A pod that cannot be reached for this long keeps its former deadline, which is never later. */
const MOVE_LIMIT = '5m';

/** What the run holds: its names in the books, and the pod that can be told, if one runs. */
interface Held {
  names: string[];
  pod: ReadyPod | null;
}

/** When what the run rents must be gone whatever happens: the moment at which the cap is exhausted. */
export class HardDeadline {
  private readonly run: Run;
  private held: Held | null = null;
  private moving: Promise<void> = Promise.resolve();

  constructor(run: Run) {
    this.run = run;
  }

  /** The moment, given what is being paid for and perhaps something more at a rate. */
  atMs(moreRatePerHour = ZERO_USD): number {
    return Math.min(this.run.budget.exhaustedAtMs(moreRatePerHour), Date.now() + LONGEST_MS);
  }

  /** What moves with the cap from now on; null once it is given back. */
  hold(held: Held | null): void {
    this.held = held;
  }

  /**
   * Tells pod and database in the background, one after the other so that the newest moment comes last. Failing is only
   * logged: the workflow's own timer is the first belt.
   */
  moveSoon(): void {
    void this.moveNow();
  }

  /** As {@link moveSoon}, for a caller that waits until everybody has been told, or could not be. */
  moveNow(): Promise<void> {
    if (this.held) this.moving = this.moving.then(() => this.move());
    return this.moving;
  }

  private async move(): Promise<void> {
    const { held, run } = this;
    if (!held) return;
    const input = { run: run.ref, ...held, hardDeadlineMs: this.atMs() };
    const options = { scheduleToCloseTimeout: MOVE_LIMIT, summary: 'the cap has changed' } as const;
    try {
      await CancellationScope.nonCancellable(() => moveDeadline.executeWithOptions(options, [input]));
    } catch (error) {
      log.warn('a hard deadline could not be moved', { names: held.names, error: String(error) });
    }
  }
}
