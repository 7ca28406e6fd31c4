import type { PodPlan, StageEstimate } from '../contract/stages.ts';
import type { PipelineSpec } from '../contract/spec.ts';
import type { PodJobStage, Stage } from '../contract/stage-names.ts';
import type { MicroUsd } from '../contract/units.ts';
import { runningDiskRate } from './disk-prices.ts';
import { bf16Gb, type BaseModel } from './model-memory.ts';
import { addUsd, costOf, ZERO_USD } from './money.ts';

type Range = readonly [lowMs: number, highMs: number];

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
/** Network of a pod: 0.15 to 1 GB/s to and from the Hub. */
const transfer = (gb: number): Range => [gb * SECOND, (gb / 0.15) * SECOND];

/** How long a stage took in an earlier run, and what that run asked for. */
export interface RecordedStage {
  stage: Stage;
  durationMs: number;
  spec: PipelineSpec;
}

/**
 * Time and cost per stage of what is still to be done, low and high. Where runs of the same shape are on record their
 * times are taken; else formulae. Ablation: trials × 100 prompts × 100 tokens at 30,000/billions-of-parameters tokens per
 * second for one H100 (heretic's own figures lie within a factor of three: about 50 minutes for 14B on an A40). AWQ: 30
 * minutes for 8B on an A100, linear in size. Rehearsals run a tiny model: seconds.
 */
export function estimateStages(
  spec: PipelineSpec,
  base: BaseModel,
  pods: readonly PodPlan[],
  { skipped = [], recorded = [] }: { skipped?: readonly Stage[]; recorded?: readonly RecordedStage[] } = {},
): StageEstimate[] {
  const times = spec.toolchain === 'rehearsal' ? rehearsalTimes(spec) : gpuTimes(spec, bf16Gb(base));
  const rows = new Map<Stage, StageEstimate>();
  for (const pod of pods.length > 1 ? pods.filter((pod) => isRented(pod, skipped)) : pods) {
    const [low, high] = ratesOf(pod);
    for (const stage of ['provision', ...pod.stages] as const) {
      const range = times[stage];
      if (!range || skipped.includes(stage)) continue;
      // A record does not say how a stage's time was shared between two pods, nor how long it waited for stock unpaid.
      const unclear = stage === 'provision' || (stage === 'prepare' && pods.length > 1);
      const learned = unclear ? undefined : fromRecords(spec, stage, recorded);
      const [lowMs, highMs] = learned?.range ?? range;
      const row = {
        stage,
        lowMs: Math.round(lowMs),
        highMs: Math.round(highMs),
        lowUsd: costOf(low, lowMs),
        highUsd: costOf(high, highMs),
        recordedRuns: learned?.runs ?? 0,
      };
      rows.set(stage, sum(rows.get(stage), row));
    }
  }
  return [...rows.values()];
}

/** Of two pods: the first one unless its ablation is taken over, the second one unless the run ends before it. */
const isRented = ({ stages }: PodPlan, skipped: readonly Stage[]): boolean =>
  stages.includes('merge') ? !skipped.includes('merge') : !skipped.includes('ablate') || skipped.includes('merge');

/** What two pods do in the same stage is shown as one. */
const sum = (before: StageEstimate | undefined, row: StageEstimate): StageEstimate =>
  before === undefined
    ? row
    : {
        ...row,
        lowMs: before.lowMs + row.lowMs,
        highMs: before.highMs + row.highMs,
        lowUsd: addUsd(before.lowUsd, row.lowUsd),
        highUsd: addUsd(before.highUsd, row.highUsd),
      };

/** The cheapest and the dearest hour of a pod, disks included. */
function ratesOf({ ladder, needs }: PodPlan): [MicroUsd, MicroUsd] {
  if (ladder.length === 0) return [ZERO_USD, ZERO_USD];
  const prices = ladder.map((rung) => rung.pricePerHour);
  const disks = runningDiskRate(needs.containerDiskGb, needs.volumeGb);
  return [addUsd(Math.min(...prices) as MicroUsd, disks), addUsd(Math.max(...prices) as MicroUsd, disks)];
}

/** A few runs say little about the spread: a tenth and a quarter are added to what was seen. */
function fromRecords(
  spec: PipelineSpec,
  stage: Stage,
  recorded: readonly RecordedStage[],
): { range: Range; runs: number } | undefined {
  const alike = recorded.filter((row) => row.stage === stage && sameShape(stage, row.spec, spec));
  if (alike.length === 0) return undefined;
  const times = alike.map(({ durationMs }) => durationMs);
  return { range: [Math.min(...times) * 0.9, Math.max(...times) * 1.25], runs: alike.length };
}

/** Whether the stage did the same work: same base and toolchain, and of its own settings those that take time. */
function sameShape(stage: Stage, before: PipelineSpec, now: PipelineSpec): boolean {
  const facts = ({ base, toolchain, ablate, quantize, compute, serve }: PipelineSpec): unknown[] => [
    base.repo,
    toolchain,
    ...(stage === 'ablate'
      ? [ablate?.trials, ablate?.precision, ablate?.minTrialSeconds, compute.gpuCount]
      : [quantize.method, compute.quantize?.gpuCount ?? compute.gpuCount]),
    ...(stage === 'verify' || stage === 'prepare' ? [serve?.checkOnPod ?? false] : []),
  ];
  return JSON.stringify(facts(before)) === JSON.stringify(facts(now));
}

type Times = Partial<Record<PodJobStage | 'provision', Range>>;

function gpuTimes(spec: PipelineSpec, gb: number): Times {
  const billions = gb / 2;
  const tokens = (spec.ablate?.trials ?? 0) * 100 * 100;
  const ablateMs = (tokens / (30_000 / Math.max(billions, 0.1))) * SECOND;
  const quantizeMs = (billions / 8) * 30 * MINUTE;
  return {
    provision: [MINUTE, 15 * MINUTE],
    prepare: [6 * MINUTE + transfer(gb)[0], 10 * MINUTE + transfer(gb)[1]],
    ...(spec.ablate ? { ablate: [ablateMs, 3 * ablateMs + 10 * MINUTE] } : {}),
    merge: [(gb / 1) * SECOND, (gb / 0.2) * SECOND],
    quantize: spec.quantize.method === 'none' ? [0, SECOND] : [quantizeMs / 2, quantizeMs * 1.5],
    // Reads base, merged model and release; what the GPU cannot hold is unpacked by the CPU.
    verify: [MINUTE + transfer(2.3 * gb)[0], 10 * MINUTE + transfer(2.3 * gb)[1]],
    ...(spec.publish ? { publish: transfer(gb) } : {}),
  };
}

function rehearsalTimes(spec: PipelineSpec): Times {
  const trialsMs = (spec.ablate?.trials ?? 0) * Math.max(0.05, spec.ablate?.minTrialSeconds ?? 0) * SECOND;
  const seconds: Range = [SECOND, 10 * SECOND];
  return {
    provision: seconds,
    prepare: seconds,
    ...(spec.ablate ? { ablate: [trialsMs + SECOND, 3 * trialsMs + 10 * SECOND] } : {}),
    merge: seconds,
    quantize: seconds,
    verify: seconds,
    ...(spec.publish ? { publish: [2 * SECOND, 20 * SECOND] } : {}),
  };
}
