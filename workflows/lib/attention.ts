import { isCancellation, rootCause } from '@temporalio/workflow';
import { toMs } from '../../domain/duration.ts';
import { hasType } from './failures.ts';
import type { Run } from './run.ts';

interface Wait {
  error: unknown;
  untilMs: number;
  continued: boolean;
}

/**
 * A failure that waits for a person: for `budget.onFailure.keep` after it, `continueRun` goes on at the stage that failed.
 * The pod stays meanwhile, parked as the spec says, and the cap holds.
 */
export class Attention {
  private readonly run: Run;
  private wait: Wait | null = null;

  constructor(run: Run) {
    this.run = run;
  }

  /** Begins to wait; false when this failure ends the run at once. */
  raise(error: unknown): boolean {
    this.wait = null;
    const keepMs = this.run.plan ? toMs(this.run.plan.spec.budget.onFailure.keep) : 0;
    if (keepMs === 0 || this.run.windingDown || isCancellation(error) || hasType(error, ...NOT_KEPT)) return false;
    this.wait = { error, untilMs: Date.now() + keepMs, continued: false };
    return true;
  }

  /** The failure that waits for a person, if one does. */
  pending(): Wait | null {
    return this.wait?.continued === false ? this.wait : null;
  }

  /** Waits for `continueRun`, at most for what is left of `keep` and for `limitMs`; true when it came. */
  async answered(limitMs = Infinity): Promise<boolean> {
    const { wait } = this;
    if (!wait) return false;
    const left = Math.min(limitMs, wait.untilMs - Date.now());
    const what = `continueRun, after: ${rootCause(wait.error) ?? String(wait.error)}`;
    if (left > 0) await this.run.waitForPerson(what, () => wait.continued, left);
    // An answer counts once.
    if (wait.continued) this.wait = null;
    return wait.continued;
  }

  /** Forgets a wait that nobody waits any more. */
  clear(): void {
    this.wait = null;
  }

  /** What is left of `keep`. */
  leftMs(): number {
    return this.wait ? Math.max(0, this.wait.untilMs - Date.now()) : 0;
  }

  /** A person says: go on. */
  answer(): void {
    if (this.wait) this.wait.continued = true;
  }
}

/** Lost pods are replaced by themselves, a stranger's host is given back at once, and the rest asks for other help. */
const NOT_KEPT = [
  'PodGone',
  'PodNotReady',
  'HostKeyMismatch',
  'NoGpuCapacity',
  'BudgetExceeded',
  'CleanupIncomplete',
  'JobStopped',
] as const;
