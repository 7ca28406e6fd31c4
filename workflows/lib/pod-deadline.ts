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

/** When the run's pod must be gone whatever happens: the moment at which the cap is exhausted. */
export class PodDeadline {
  private readonly run: Run;
  private pod: ReadyPod | null = null;
  private moving: Promise<void> = Promise.resolve();

  constructor(run: Run) {
    this.run = run;
  }

  /** The moment, given what is being paid for and perhaps something more at a rate. */
  atMs(moreRatePerHour = ZERO_USD): number {
    return Math.min(this.run.budget.exhaustedAtMs(moreRatePerHour), Date.now() + LONGEST_MS);
  }

  /** The pod that can be told, and nobody's once it is given back. */
  hold(pod: ReadyPod | null): void {
    this.pod = pod;
  }

  /**
   * Tells pod and database in the background, one after the other so that the newest moment comes last. Failing is only
   * logged: the workflow's own timer is the first belt.
   */
  moveSoon(): void {
    if (!this.pod) return;
    this.moving = this.moving.then(() => this.move());
  }

  private async move(): Promise<void> {
    const { pod, run } = this;
    if (!pod) return;
    const input = { run: run.ref, pod, hardDeadlineMs: this.atMs() };
    const options = { scheduleToCloseTimeout: MOVE_LIMIT, summary: 'the cap has changed' } as const;
    try {
      await CancellationScope.nonCancellable(() => moveDeadline.executeWithOptions(options, [input]));
    } catch (error) {
      log.warn('the hard deadline of a pod could not be moved', { podName: pod.podName, error: String(error) });
    }
  }
}
