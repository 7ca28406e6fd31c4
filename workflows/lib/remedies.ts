import { ApplicationFailure, log, patched } from '@temporalio/workflow';
import type { JobFailure } from '../../contract/job-protocol.ts';
import type { PipelineSpec } from '../../contract/spec.ts';
import type { PodJobStage } from '../../contract/stage-names.ts';
import type { PodPlan } from '../../contract/stages.ts';
import { remedyFor, type Remedy, type Situation } from '../../domain/remedies.ts';
import { failure } from './failures.ts';
import type { Run } from './run.ts';

/** What a run has changed by itself after failures of its jobs; the spec's own fields are changed in the spec. */
export class Remedies {
  /** One sentence per change, for people. */
  readonly notes: string[] = [];
  private readonly run: Run;
  private readonly repeats = new Map<PodJobStage, number>();
  private batchCap: number | null = null;
  /** By the stages of a pod: what was too small for one part may do for the other. */
  private readonly tooSmallGb = new Map<string, number>();

  constructor(run: Run) {
    this.run = run;
  }

  /** The pod of the plan, without the GPUs that have proven too small. */
  fitting(part: PodPlan): PodPlan {
    const tooSmall = this.tooSmallGb.get(part.stages.join()) ?? 0;
    return { ...part, ladder: part.ladder.filter(({ memoryGb }) => memoryGb > tooSmall) };
  }

  /** A person continues with another plan: what was found out about the former one no longer holds. */
  startOver(): void {
    this.batchCap = null;
    this.tooSmallGb.clear();
    this.repeats.clear();
  }

  /** The most prompts an ablation may work on at once, on the pod that is held. */
  maxBatchSize(part: PodPlan): number {
    const planned = this.rung(part)?.maxBatchSize ?? HERETICS_OWN;
    return Math.min(this.batchCap ?? planned, planned);
  }

  /**
   * Runs a stage's job, and again with one bounded change after each failure that a change helps against. A change that
   * needs another pod ends the work on this one as `PodGone`; see {@link moved}.
   */
  async around<T>(stage: PodJobStage, part: PodPlan, work: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        const remedy = this.remedyAfter(stage, part, error);
        if (!remedy) throw error;
        this.apply(stage, part, remedy);
        if (remedy.change.kind === 'otherPod') throw failure('PodGone', remedy.note, null, error as ApplicationFailure);
        this.note(remedy.note);
        // A job id runs once.
        this.run.jobSeries++;
      }
    }
  }

  /** The pod ended as `PodGone`, and another one is rented: for a remedy that asked for it, this is when it is done. */
  moved(error: unknown): void {
    if (jobFailureIn(error)) this.note((error as ApplicationFailure).message);
  }

  private note(note: string): void {
    this.notes.push(note);
    log.warn('a failed job is repeated with a change', { note });
    this.run.show();
  }

  private remedyAfter(stage: PodJobStage, part: PodPlan, error: unknown): Remedy | null {
    if (!isJobFailure(error) || this.run.windingDown) return null;
    const [said] = (error.details ?? []) as (JobFailure | null | undefined)[];
    const remedy = said ? remedyFor(stage, said, this.situation(stage, part)) : null;
    const needsPod = remedy?.change.kind === 'otherPod';
    return needsPod && !this.run.mayReplacePod() && patched(STAYS_ON_LAST_POD) ? null : remedy;
  }

  private situation(stage: PodJobStage, part: PodPlan): Situation {
    const { ablate, quantize } = this.run.requirePlan().spec;
    return {
      memoryGb: this.rung(part)?.memoryGb ?? 0,
      ladderGb: part.ladder.map(({ memoryGb }) => memoryGb),
      maxBatchSize: this.maxBatchSize(part),
      precision: ablate?.precision ?? 'bf16',
      groupSize: quantize.groupSize,
      maxModelLen: this.run.requirePlan().serving?.maxModelLen ?? null,
      repeats: this.repeats.get(stage) ?? 0,
    };
  }

  private apply(stage: PodJobStage, part: PodPlan, { change }: Remedy): void {
    switch (change.kind) {
      case 'maxBatchSize':
        this.batchCap = change.maxBatchSize;
        return;
      case 'precision':
        this.batchCap = null;
        this.changeSpec((spec) =>
          spec.ablate ? { ...spec, ablate: { ...spec.ablate, precision: change.precision } } : spec,
        );
        return;
      case 'groupSize':
        this.changeSpec((spec) => ({ ...spec, quantize: { ...spec.quantize, groupSize: change.groupSize } }));
        return;
      case 'maxModelLen':
        this.shorten(change.maxModelLen);
        return;
      case 'otherPod':
        if (change.moreThanGb === null) return;
        this.tooSmallGb.set(part.stages.join(), change.moreThanGb);
        this.batchCap = null;
        return;
      case 'repeat':
        this.repeats.set(stage, (this.repeats.get(stage) ?? 0) + 1);
    }
  }

  /** As if a person had continued with it: what depends on it is made again, and the books hold what was really done. */
  private changeSpec(change: (spec: PipelineSpec) => PipelineSpec): void {
    const plan = this.run.requirePlan();
    this.run.adoptPlan({ ...plan, spec: change(plan.spec) });
  }

  /** What is deployed later must be what was proven. */
  private shorten(maxModelLen: number): void {
    const plan = this.run.requirePlan();
    const { serving, spec } = plan;
    if (!serving || !spec.serve) return;
    const changed = { ...spec, serve: { ...spec.serve, maxModelLen } };
    this.run.adoptPlan({ ...plan, serving: { ...serving, maxModelLen }, spec: changed });
  }

  private rung(part: PodPlan): PodPlan['ladder'][number] | undefined {
    const { provision } = this.run.outputs;
    return part.ladder.find(({ gpuTypeId }) => gpuTypeId === provision?.gpuTypeId);
  }
}

const isJobFailure = (error: unknown): error is ApplicationFailure =>
  error instanceof ApplicationFailure && error.type === 'JobFailed';

/** The failed job for which a pod was given back as `PodGone`; undefined for a pod that was really lost. */
export const jobFailureIn = (error: unknown): ApplicationFailure | undefined =>
  error instanceof ApplicationFailure && error.type === 'PodGone' && isJobFailure(error.cause)
    ? error.cause
    : undefined;

/** Older versions gave the last pod back too, before the run failed. */
const STAYS_ON_LAST_POD = 'failed-job-stays-on-last-pod';

/** heretic's default cap. */
const HERETICS_OWN = 128;
