import { CancellationScope, isCancellation, rootCause } from '@temporalio/workflow';
import { STAGES, type Stage } from '../../contract/stage-names.ts';
import type { StageReport, StageState } from '../../contract/stages.ts';
import type { MicroUsd } from '../../contract/units.ts';
import { subtractUsd, ZERO_USD } from '../../domain/money.ts';

/** The stages of one run and how each stands: what the queries answer and the report prints. */
export class StageBoard {
  private readonly reports = new Map<Stage, StageReport>(
    STAGES.map((stage) => [
      stage,
      {
        stage,
        state: 'pending',
        startedAtMs: null,
        endedAtMs: null,
        workedMs: 0,
        gpuTypeId: null,
        cost: ZERO_USD,
        note: '',
      },
    ]),
  );
  private readonly onEdge: (report: StageReport) => void;
  private readonly spent: () => MicroUsd;
  private readonly gpu: () => string | null;

  /** `gpu`: the type of the pod that is held, if one is. */
  constructor(spent: () => MicroUsd, onEdge: (report: StageReport) => void, gpu: () => string | null = () => null) {
    this.spent = spent;
    this.onEdge = onEdge;
    this.gpu = gpu;
  }

  list(): StageReport[] {
    return [...this.reports.values()].map((report) => ({ ...report }));
  }

  /** The stage that runs now, or else the last one that ended. */
  current(): Stage {
    const stages = this.list();
    const running = stages.find(({ state }) => state === 'running');
    return (running ?? this.ended().at(-1) ?? { stage: 'plan' as const }).stage;
  }

  /** Stages that are over, in order. */
  ended(): StageReport[] {
    return this.list().filter(({ state }) => !['pending', 'waiting', 'running'].includes(state));
  }

  /** Runs a stage. A stage repeated on a second pod adds to its cost and keeps its first start. */
  async run<T>(stage: Stage, work: () => Promise<T>, note: (output: T) => string = () => ''): Promise<T> {
    const before = this.spent();
    const startedAtMs = Date.now();
    const report = this.edge(stage, 'running', { startedAtMs });
    const end = (state: StageState, text: string): void => {
      const endedAtMs = Date.now();
      const cost = (report.cost + subtractUsd(this.spent(), before)) as MicroUsd;
      const workedMs = report.workedMs + endedAtMs - startedAtMs;
      this.edge(stage, state, { endedAtMs, workedMs, gpuTypeId: this.gpu(), cost, note: text });
    };
    try {
      const output = await work();
      end('completed', note(output));
      return output;
    } catch (error) {
      const cancelled = isCancellation(error) || CancellationScope.current().consideredCancelled;
      end(cancelled ? 'cancelled' : 'failed', cancelled ? '' : (rootCause(error) ?? String(error)));
      throw error;
    }
  }

  skip(stage: Stage, note: string): void {
    this.edge(stage, 'skipped', { note, startedAtMs: Date.now(), endedAtMs: Date.now() });
  }

  wait(stage: Stage, note: string): void {
    this.edge(stage, 'waiting', { note });
  }

  /** Takes over an edge that a child workflow reports. */
  adopt(report: StageReport): void {
    this.edge(report.stage, report.state, report);
  }

  private edge(stage: Stage, state: StageState, change: Partial<StageReport>): StageReport {
    const report = this.reports.get(stage);
    if (!report) throw new Error(`unknown stage ${stage}`);
    const firstStart = report.startedAtMs;
    Object.assign(report, change, { state });
    if (firstStart !== null && state === 'running') report.startedAtMs = firstStart;
    this.onEdge({ ...report });
    return report;
  }
}
