import { CancellationScope, condition, log } from '@temporalio/workflow';
import type { Books, MeterEntry } from '../../contract/activities.ts';
import type { Json } from '../../contract/json.ts';
import type { StageReport } from '../../contract/stages.ts';
import type { MicroUsd } from '../../contract/units.ts';
import type { Meter } from '../../domain/budget.ts';
import { keepBooks } from '../activity-proxies.ts';
import type { Run } from './run.ts';

/**
 * Copies what a run knows into Postgres. Nothing waits for it while the run goes on. One copy at a time, each of the
 * newest state, so that an old one never overwrites a new one; only money edges ask for it, so a history holds few.
 */
export class BookKeeper {
  private readonly run: Run;
  private stale = false;
  private copying: Promise<void> | null = null;
  private end: Books['end'] = null;

  constructor(run: Run) {
    this.run = run;
  }

  copy(): void {
    this.stale = true;
    this.copying ??= this.untilCopied().finally(() => (this.copying = null));
  }

  /** The last copy is waited for, but not for ever: a closed run makes no more of them. */
  async close(state: string, limitMs: number): Promise<void> {
    await CancellationScope.nonCancellable(async () => {
      this.end = { state, atMs: Date.now() };
      this.copy();
      await condition(() => this.copying === null, limitMs);
    });
  }

  private async untilCopied(): Promise<void> {
    while (this.stale && this.run.plan) {
      this.stale = false;
      try {
        await CancellationScope.nonCancellable(() => keepBooks(this.books()));
      } catch (error) {
        log.warn('a copy of the books failed', { error: String(error) });
      }
    }
  }

  /** A search that went on from given trials says nothing of how long a whole one takes. */
  private learnable(report: StageReport): StageReport {
    return report.stage === 'ablate' && this.run.given.checkpoint ? { ...report, gpuTypeId: null } : report;
  }

  private books(): Books {
    const { run } = this;
    return {
      run: run.ref,
      spec: run.requirePlan().spec as unknown as Json,
      cap: run.budget.currentCap(),
      spent: run.budget.spent(),
      overrun: run.budget.overrun(),
      meters: run.budget.entries().map(toMeterEntry),
      stages: run.board.ended().map((report) => ({
        report: this.learnable(report),
        output: (run.outputs[report.stage] ?? null) as unknown as Json,
      })),
      end: this.end,
    };
  }
}

function toMeterEntry({ id, ...meter }: Meter & { amount: MicroUsd }): MeterEntry {
  const [resource, ...rest] = id.split('/');
  return { resource: resource === 'pod' ? 'pod' : 'serving', resourceId: rest.join('/'), ...meter };
}
