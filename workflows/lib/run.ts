import { condition, log, setCurrentDetails, workflowInfo } from '@temporalio/workflow';
import type { RunRef } from '../../contract/activities.ts';
import type { PipelineSpec } from '../../contract/spec.ts';
import { STAGES, type PodJobStage, type Stage } from '../../contract/stage-names.ts';
import type {
  DurableStage,
  GivenOutputs,
  Plan,
  Progress,
  Spend,
  StageOutputs,
  StageReport,
} from '../../contract/stages.ts';
import type { MicroUsd } from '../../contract/units.ts';
import { toMs } from '../../domain/duration.ts';
import { formatUsd, toUsd, ZERO_USD } from '../../domain/money.ts';
import { firstAffected } from '../../domain/spec-changes.ts';
import { stagesNotDone, whyNotWanted } from '../../domain/stages-wanted.ts';
import { checkGiven } from '../activity-proxies.ts';
import type { ApprovalStage } from '../messages.ts';
import { Attention } from './attention.ts';
import { BookKeeper } from './book-keeper.ts';
import { BudgetGuard } from './budget-guard.ts';
import { currentDetails } from './current-details.ts';
import { failure } from './failures.ts';
import { listen } from './listen.ts';
import { HardDeadline } from './hard-deadline.ts';
import { Remedies } from './remedies.ts';
import { SearchAttributes } from './search-attributes.ts';
import { StageBoard } from './stage-board.ts';

/** What may be done about a job that is being followed, from outside the stage that follows it. */
export interface ActiveJob {
  jobId: string;
  stage: PodJobStage;
  stop: () => Promise<void>;
}

export interface RunOptions {
  title: string;
  cap: MicroUsd;
  warnAt: number;
  given: GivenOutputs;
  until: Stage | undefined;
}

/** One run: its plan, stages, money and messages. Stages read it top to bottom; nothing here knows what a stage does. */
export class Run {
  readonly outputs: Partial<StageOutputs> = {};
  readonly given: GivenOutputs;
  readonly budget: BudgetGuard;
  readonly board: StageBoard;
  readonly deadline = new HardDeadline(this);
  readonly attention = new Attention(this);
  readonly attributes = new SearchAttributes();
  readonly books = new BookKeeper(this);
  readonly remedies = new Remedies(this);
  /** Stages whose files lie on the pod that is held now. */
  readonly onPod = new Set<Stage>();
  activeJob: ActiveJob | null = null;
  /** True from the budget's moment on: no further job is started on this pod. */
  windingDown = false;
  /** Pods of this run so far, so that every create has a name of its own. */
  podAttempts = 0;
  /** Pods that were lost since one last handed on its work. */
  lostPods = 0;
  /** How often jobs were begun anew on one pod, so that each job has an id of its own: an id runs once. */
  jobSeries = 0;

  /** Deployments of this run so far, so that each has names of its own. */
  deployments = 0;
  /** True once nothing of this run needs a pod any more. */
  isBuilt = false;

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
  private gpuTypeId: string | null = null;
  private readonly ids = { podId: null as string | null, endpointId: null as string | null };
  readonly approved = new Set<ApprovalStage>();
  private readonly title: string;
  private readonly until: Stage | undefined;

  constructor({ title, cap, warnAt, given, until }: RunOptions) {
    this.title = title;
    this.given = given;
    this.until = until;
    this.budget = new BudgetGuard(cap, warnAt, () => {
      log.warn('the budget is nearly spent', { spent: this.budget.spent(), cap: this.budget.currentCap() });
      this.show();
    });
    this.board = new StageBoard(
      () => this.budget.spent(),
      (report) => {
        this.onEdge(report);
      },
      () => (this.ids.podId === null ? null : this.gpuTypeId),
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
    this.attributes.set({ ModelName: plan.spec.name, BudgetUsd: toUsd(this.budget.currentCap()) });
  }

  /** Runs a stage and keeps its output. */
  async stage<S extends keyof StageOutputs>(
    stage: S,
    work: () => Promise<StageOutputs[S]>,
    note?: (output: StageOutputs[S]) => string,
  ): Promise<StageOutputs[S]> {
    const output = await this.board.run(stage, work, note);
    this.outputs[stage] = output;
    return output;
  }

  /** Whether a stage has to run; says on the board why not. A stage whose output is there already is not wanted. */
  wants(stage: Stage): boolean {
    const reason = whyNotWanted(this.requirePlan().spec, this.until, stage);
    if (reason !== null) this.board.skip(stage, reason);
    return reason === null;
  }

  /** Whether the pod that is held would be replaced if it were lost. */
  mayReplacePod(): boolean {
    return this.lostPods + 1 < MAX_LOST_PODS && !this.budget.reached();
  }

  /** Stages that a plan made now need not provide for. */
  stagesNotDone(): Stage[] {
    return stagesNotDone(this.isBuilt ? { publish: true, verify: true } : {}, this.until);
  }

  /** Says of every stage that never ran why it did not. */
  skipRest(): void {
    for (const { stage, state } of this.board.list()) {
      if (state === 'pending' && this.wants(stage)) this.board.skip(stage, 'not needed');
    }
  }

  /** Takes over what the run was given, once it is known to be what its digests say. */
  async takeGiven(): Promise<void> {
    const { given } = this;
    const stages = GIVEN_STAGES.filter((stage) => given[stage] !== undefined);
    if (stages.length === 0 && !given.checkpoint) return;
    await checkGiven({ plan: this.requirePlan(), given });
    for (const stage of stages) {
      Object.assign(this.outputs, { [stage]: given[stage] });
      this.board.skip(stage, 'output given');
    }
  }

  /** Goes on with a changed plan of the same run: what the change affects is made again. */
  adoptPlan(plan: Plan): void {
    const before = this.requirePlan().spec;
    const affected = firstAffected(before, plan.spec);
    this.plan = plan;
    // prepare brings them to the pod; it is idempotent, and what it did else stays.
    if (dataSetsOf(before) !== dataSetsOf(plan.spec)) this.onPod.delete('prepare');
    // What is deployed again later must be what was done; the estimates stay those that were promised.
    if (this.outputs.plan) this.outputs.plan = { ...plan, estimate: this.outputs.plan.estimate };
    if (affected === null) return;
    const stale = STAGES.slice(STAGES.indexOf(affected));
    for (const stage of stale) {
      this.onPod.delete(stage);
      Reflect.deleteProperty(this.outputs, stage);
    }
  }

  /** The output of a stage that an earlier one has to have made. */
  output<S extends keyof StageOutputs>(stage: S): StageOutputs[S] {
    const output = this.outputs[stage];
    if (output === undefined)
      throw failure('InvalidSpec', `the output of ${stage} is needed, which this run did not make`);
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
    this.books.copy();
    this.show();
  }

  stopMeter(id: string): void {
    this.budget.stopMeter(id);
    this.attributes.set({ SpentUsd: toUsd(this.budget.spent()) });
    this.books.copy();
    this.show();
  }

  setIds(ids: Partial<Run['ids']>, gpuType?: string): void {
    Object.assign(this.ids, ids);
    this.gpuTypeId = gpuType ?? this.gpuTypeId;
    this.attributes.set({
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
      remedies: [...this.remedies.notes],
    };
  }

  /** Waits until `done`, at most for `limitMs`, and says meanwhile what for; false when the time is over. */
  async waitForPerson(what: string, done: () => boolean, limitMs?: number): Promise<boolean> {
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
    if (report.state === 'running' || report.state === 'waiting') this.attributes.set({ PipelineStage: report.stage });
    this.show();
  }

  show(): void {
    this.lastSpend = this.budget.snapshot();
    setCurrentDetails(currentDetails(this.progress()));
  }
}

/** A run does not chase pods for ever: after this many were lost it fails. */
const MAX_LOST_PODS = 3;

const dataSetsOf = ({ ablate, quantize }: PipelineSpec): string =>
  JSON.stringify([ablate?.prompts, quantize.calibration]);

const GIVEN_STAGES = ['ablate', 'verify', 'publish'] as const satisfies readonly DurableStage[];
