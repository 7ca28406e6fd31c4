import {
  CancellationScope,
  condition,
  log,
  setCurrentDetails,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import type { Books, MeterEntry, RunRef } from '../../contract/activities.ts';
import type { Json } from '../../contract/json.ts';
import type { SearchAttributeName } from '../../contract/names.ts';
import { SEARCH_ATTRIBUTES } from '../../contract/names.ts';
import type { PodJobStage } from '../../contract/stage-names.ts';
import type { GivenOutputs, Plan, Progress, Spend, StageOutputs, StageReport } from '../../contract/stages.ts';
import type { MicroUsd } from '../../contract/units.ts';
import type { Meter } from '../../domain/budget.ts';
import { toMs } from '../../domain/duration.ts';
import { formatUsd, toUsd, ZERO_USD } from '../../domain/money.ts';
import { keepBooks } from '../activity-proxies.ts';
import type { ApprovalStage } from '../messages.ts';
import { BudgetGuard } from './budget-guard.ts';
import { currentDetails } from './current-details.ts';
import { failure } from './failures.ts';
import { listen } from './listen.ts';
import { PodDeadline } from './pod-deadline.ts';
import { StageBoard } from './stage-board.ts';

/** What may be done about a job that is being followed, from outside the stage that follows it. */
export interface ActiveJob {
  jobId: string;
  stage: PodJobStage;
  stop: () => Promise<void>;
}

/** One run: its plan, stages, money and messages. Stages read it top to bottom; nothing here knows what a stage does. */
export class Run {
  readonly outputs: Partial<StageOutputs> = {};
  readonly given: GivenOutputs;
  readonly budget: BudgetGuard;
  readonly board: StageBoard;
  readonly deadline = new PodDeadline(this);
  activeJob: ActiveJob | null = null;
  /** True from the budget's moment on: no further job is started on this pod. */
  windingDown = false;
  /** Pods of this run so far, so that every create has a name of its own. */
  podAttempts = 0;

  plan: Plan | null = null;
  /** Money as of the last edge or message; clients extrapolate from it. */
  lastSpend: Spend = {
    recorded: ZERO_USD,
    ratePerHour: ZERO_USD,
    sinceMs: 0,
    cap: ZERO_USD,
    warned: false,
  };
  private waitingFor: string | null = null;
  private readonly ids = { podId: null as string | null, endpointId: null as string | null };
  readonly approved = new Set<ApprovalStage>();
  private booksDirty = false;
  private copying: Promise<void> | null = null;
  private end: Books['end'] = null;
  private readonly title: string;

  constructor(title: string, cap: MicroUsd, warnAt: number, given: GivenOutputs) {
    this.title = title;
    this.given = given;
    this.budget = new BudgetGuard(cap, warnAt, () => {
      log.warn('the budget is nearly spent', { spent: this.budget.spent(), cap: this.budget.currentCap() });
      this.show();
    });
    this.board = new StageBoard(
      () => this.budget.spent(),
      (report) => {
        this.onEdge(report);
      },
    );
    listen(this);
  }

  get ref(): RunRef {
    const { workflowId, runId } = workflowInfo();
    const plan = this.requirePlan();
    const { installation, release, specHash } = plan;
    return { workflowId, runId, name: plan.spec.name, release, installation, specHash };
  }

  requirePlan(): Plan {
    if (!this.plan) throw failure('InvalidSpec', 'the run has not been planned yet');
    return this.plan;
  }

  acceptPlan(plan: Plan): void {
    this.plan = plan;
    this.setAttributes({ ModelName: plan.spec.name, BudgetUsd: toUsd(this.budget.currentCap()) });
  }

  /** Runs a stage, or takes its output from what the run was given. */
  async stage<S extends keyof StageOutputs>(
    stage: S,
    work: () => Promise<StageOutputs[S]>,
    note?: (output: StageOutputs[S]) => string,
  ): Promise<StageOutputs[S]> {
    const output = await this.board.run(stage, work, note);
    this.outputs[stage] = output;
    return output;
  }

  /** The given output of a stage, marking it as skipped; undefined when the stage has to run. */
  take<S extends keyof GivenOutputs & keyof StageOutputs>(stage: S): StageOutputs[S] | undefined {
    const output = this.given[stage] as StageOutputs[S] | undefined;
    if (output !== undefined && this.outputs[stage] === undefined) {
      this.outputs[stage] = output;
      this.board.skip(stage, 'output given');
    }
    return output;
  }

  /** Waits for a person where the spec asks for it. */
  async approval(stage: ApprovalStage): Promise<void> {
    if (!this.requirePlan().spec.approvals.includes(stage)) return;
    this.board.wait(stage, 'waiting for approval');
    await this.waitForPerson(`approval of ${stage}`, () => this.approved.has(stage));
  }

  /** After a budget stop: waits for `extendBudget`, else ends the run. */
  async extensionOrEnd(): Promise<void> {
    const graceMs = toMs(this.requirePlan().spec.budget.grace);
    const extended = await this.waitForPerson('extendBudget', () => !this.budget.reached(), graceMs);
    if (extended) return;
    const spent = formatUsd(this.budget.spent());
    const cap = formatUsd(this.budget.currentCap());
    throw failure('BudgetExceeded', `spent ${spent} of ${cap}; nobody extended the budget in time`, {
      spent: this.budget.spent(),
      cap: this.budget.currentCap(),
    });
  }

  /** Starts paying for something. The id says what: `pod/<id>`, `serving/<release>`. */
  startMeter(id: string, ratePerHour: MicroUsd, fromMs = Date.now()): void {
    this.budget.startMeter(id, ratePerHour, fromMs);
    this.copyBooks();
    this.show();
  }

  stopMeter(id: string): void {
    this.budget.stopMeter(id);
    this.setAttributes({ SpentUsd: toUsd(this.budget.spent()) });
    this.copyBooks();
    this.show();
  }

  setIds(ids: Partial<Run['ids']>, gpuType?: string): void {
    Object.assign(this.ids, ids);
    this.setAttributes({
      ...(ids.podId === undefined ? {} : { PodId: ids.podId }),
      ...(ids.endpointId === undefined ? {} : { EndpointId: ids.endpointId }),
      ...(gpuType === undefined ? {} : { GpuType: gpuType }),
    });
    this.show();
  }

  progress(): Progress {
    return {
      name: this.title,
      release: this.plan?.release ?? null,
      stages: this.board.list(),
      waitingFor: this.waitingFor,
      activeJob: this.activeJob ? { jobId: this.activeJob.jobId, stage: this.activeJob.stage } : null,
      ids: { ...this.ids, commit: this.outputs.publish?.commit ?? null },
      spend: this.lastSpend,
    };
  }

  /**
   * Copies everything known so far into Postgres. Nothing waits for it while the run goes on. One copy at a time, each of
   * the newest state, so that an old one never overwrites a new one; only money edges ask for it, so a history holds few.
   */
  copyBooks(): void {
    this.booksDirty = true;
    this.copying ??= this.copyUntilClean().finally(() => (this.copying = null));
  }

  /** Closes the books: waits a while for the last copy, since a closed run makes no more of them. */
  async closeBooks(state: string, limitMs: number): Promise<void> {
    await CancellationScope.nonCancellable(async () => {
      this.end = { state, atMs: Date.now() };
      this.copyBooks();
      await condition(() => this.copying === null, limitMs);
    });
  }

  private async copyUntilClean(): Promise<void> {
    while (this.booksDirty && this.plan) {
      this.booksDirty = false;
      try {
        await CancellationScope.nonCancellable(() => keepBooks(this.books()));
      } catch (error) {
        log.warn('a copy of the books failed', { error: String(error) });
      }
    }
  }

  private books(): Books {
    return {
      run: this.ref,
      spec: this.requirePlan().spec as unknown as Json,
      cap: this.budget.currentCap(),
      spent: this.budget.spent(),
      overrun: this.budget.overrun(),
      meters: this.budget.entries().map(toMeterEntry),
      stages: this.board
        .ended()
        .map((report) => ({ report, output: (this.outputs[report.stage] ?? null) as unknown as Json })),
      end: this.end,
    };
  }

  private async waitForPerson(what: string, done: () => boolean, limitMs?: number): Promise<boolean> {
    this.waitingFor = what;
    this.show();
    try {
      if (limitMs === undefined) {
        await condition(done);
        return true;
      }
      return await condition(done, limitMs, { summary: `waiting for ${what}` });
    } finally {
      this.waitingFor = null;
      this.show();
    }
  }

  private onEdge(report: StageReport): void {
    if (report.state === 'running' || report.state === 'waiting') this.setAttributes({ PipelineStage: report.stage });
    this.show();
  }

  show(): void {
    this.lastSpend = this.budget.snapshot();
    setCurrentDetails(currentDetails(this.progress()));
  }

  setAttributes(values: Partial<Record<SearchAttributeName, string | number | null>>): void {
    const pairs = Object.entries(values).map(([name, value]) =>
      SEARCH_ATTRIBUTES[name as SearchAttributeName] === 'DOUBLE'
        ? { key: defineSearchAttributeKey(name, SearchAttributeType.DOUBLE), value: value as number | null }
        : { key: defineSearchAttributeKey(name, SearchAttributeType.KEYWORD), value: value as string | null },
    );
    if (pairs.length > 0) upsertSearchAttributes(pairs);
  }
}

function toMeterEntry({ id, ...meter }: Meter & { amount: MicroUsd }): MeterEntry {
  const [resource, ...rest] = id.split('/');
  return { resource: resource === 'pod' ? 'pod' : 'serving', resourceId: rest.join('/'), ...meter };
}
