import type { LadderRung, StageEstimate } from '../contract/stages.ts';
import type { PipelineSpec } from '../contract/spec.ts';
import type { Stage } from '../contract/stage-names.ts';
import type { MicroUsd } from '../contract/units.ts';
import { costOf, ZERO_USD } from './money.ts';

type Range = readonly [lowMs: number, highMs: number];

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
/** Network of a pod: 0.15 to 1 GB/s to and from the Hub. */
const transfer = (gb: number): Range => [gb * SECOND, (gb / 0.15) * SECOND];

/**
 * Time and cost per stage, low and high. Ablation: trials × 100 prompts × 100 tokens at 30,000/billions-of-parameters
 * tokens per second for one H100 (heretic's own figures lie within a factor of three: about 50 minutes for 14B on an
 * A40). AWQ: 30 minutes for 8B on an A100, linear in size. Rehearsals run a tiny model: seconds.
 */
export function estimateStages(
  spec: PipelineSpec,
  base: { totalBytes: number },
  ladder: readonly LadderRung[],
): StageEstimate[] {
  const gb = base.totalBytes / 1e9;
  const billions = gb / 2;
  const times = spec.toolchain === 'rehearsal' ? rehearsalTimes(spec) : gpuTimes(spec, gb, billions);
  const rates = ladder.map((rung) => rung.pricePerHour);
  const low = rates.length ? (Math.min(...rates) as MicroUsd) : ZERO_USD;
  const high = rates.length ? (Math.max(...rates) as MicroUsd) : ZERO_USD;
  return times.map(([stage, [lowMs, highMs]]) => ({
    stage,
    lowMs: Math.round(lowMs),
    highMs: Math.round(highMs),
    lowUsd: costOf(low, lowMs),
    highUsd: costOf(high, highMs),
  }));
}

function gpuTimes(spec: PipelineSpec, gb: number, billions: number): [Stage, Range][] {
  const tokens = (spec.ablate?.trials ?? 0) * 100 * 100;
  const ablateMs = (tokens / (30_000 / Math.max(billions, 0.1))) * SECOND;
  const quantizeMs = (billions / 8) * 30 * MINUTE;
  return [
    ['provision', [MINUTE, 15 * MINUTE]],
    ['prepare', [6 * MINUTE + transfer(gb)[0], 10 * MINUTE + transfer(gb)[1]]],
    ...(spec.ablate ? ([['ablate', [ablateMs, 3 * ablateMs + 10 * MINUTE]]] satisfies [Stage, Range][]) : []),
    ['merge', [(gb / 1) * SECOND, (gb / 0.2) * SECOND]],
    ['quantize', spec.quantize.method === 'none' ? [0, SECOND] : [quantizeMs / 2, quantizeMs * 1.5]],
    ['verify', [MINUTE, 10 * MINUTE]],
    ...(spec.publish ? ([['publish', transfer(gb)]] satisfies [Stage, Range][]) : []),
  ];
}

function rehearsalTimes(spec: PipelineSpec): [Stage, Range][] {
  const trialsMs = (spec.ablate?.trials ?? 0) * Math.max(0.05, spec.ablate?.minTrialSeconds ?? 0) * SECOND;
  const seconds: Range = [SECOND, 10 * SECOND];
  return [
    ['provision', seconds],
    ['prepare', seconds],
    ...(spec.ablate ? ([['ablate', [trialsMs + SECOND, 3 * trialsMs + 10 * SECOND]]] satisfies [Stage, Range][]) : []),
    ['merge', seconds],
    ['quantize', seconds],
    ['verify', seconds],
    ...(spec.publish ? ([['publish', [2 * SECOND, 20 * SECOND]]] satisfies [Stage, Range][]) : []),
  ];
}
