import type { Plan, PodPlan, StageEstimate } from '../contract/stages.ts';
import { formatMs } from '../domain/duration.ts';
import { addUsd, formatUsd, fromUsd } from '../domain/money.ts';
import { limitsNotSet } from '../domain/limits-not-set.ts';
import { reserveOf } from '../domain/serving-bound.ts';
import { monthlyServing } from '../domain/serving-month.ts';
import { table } from './output.ts';

const range = (low: string, high: string): string => (low === high ? low : `${low} – ${high}`);

/** A plan for people: what it is for, what may be rented, what each stage takes, what serving costs, what limits are missing. */
export function renderPlan(plan: Plan): string[] {
  const { spec, base, pods, estimate, warnings, release } = plan;
  const size = `${(base.totalBytes / 1e9).toFixed(3)} GB`;
  return [
    `${spec.name}: ${base.repo} at ${base.commit.slice(0, 12)} (${base.architecture}, ${size}, licence ${base.license})`,
    `release ${release}${spec.publish ? `, published to ${spec.publish.repo}` : ', not published'}`,
    '',
    ...pods.flatMap((pod, at) => [...podLines(pod, pods.length > 1 ? `pod ${at + 1} of ${pods.length}` : 'pod'), '']),
    ...(estimate.length > 0 ? [...estimateLines(estimate), ''] : []),
    capLine(plan),
    ...servingLines(plan),
    ...limitsNotSet(spec).map((limit) => `no limit: ${limit}`),
    ...warnings.map((warning) => `note: ${warning}`),
  ];
}

function capLine(plan: Plan): string {
  const cap = `cap ${formatUsd(fromUsd(plan.spec.budget.capUsd))}`;
  return plan.pods.length === 0
    ? cap
    : `${cap}, of which ${formatUsd(reserveOf(plan))} are held back for stopping and warm-up`;
}

function podLines({ stages, needs, ladder }: PodPlan, title: string): string[] {
  const cuda = needs.minCudaVersion === null ? '' : `, CUDA ${needs.minCudaVersion} or newer`;
  const withDataCenters = ladder.some(({ dataCenterId }) => dataCenterId !== null);
  const rows = ladder.map((rung) => [
    `${rung.gpuCount > 1 ? `${rung.gpuCount} × ` : ''}${rung.gpuTypeId}`,
    rung.cloud,
    ...(withDataCenters ? [rung.dataCenterId ?? 'any'] : []),
    `${rung.memoryGb} GB`,
    `${formatUsd(rung.pricePerHour)}/h`,
    rung.maxBatchSize === undefined ? rung.stock : `${rung.stock}, batch ≤ ${rung.maxBatchSize}`,
  ]);
  return [
    `${title} (${stages.join(', ')}): needs ${needs.vramGb} GB of GPU memory, ${needs.hostMemoryGb} GB of host memory, ${needs.volumeGb} GB volume, ${needs.containerDiskGb} GB container disk${cuda}`,
    ...table([['GPU', 'cloud', ...(withDataCenters ? ['data centre'] : []), 'memory', 'price', 'stock'], ...rows]),
  ];
}

function estimateLines(estimate: readonly StageEstimate[]): string[] {
  const total = {
    low: addUsd(...estimate.map((row) => row.lowUsd)),
    high: addUsd(...estimate.map((row) => row.highUsd)),
    lowMs: estimate.reduce((sum, row) => sum + row.lowMs, 0),
    highMs: estimate.reduce((sum, row) => sum + row.highMs, 0),
  };
  return table([
    ['stage', 'time', 'cost', 'from'],
    ...estimate.map((row) => [
      row.stage,
      range(formatMs(row.lowMs), formatMs(row.highMs)),
      range(formatUsd(row.lowUsd), formatUsd(row.highUsd)),
      row.recordedRuns === 0 ? 'formula' : `${row.recordedRuns} recorded run${row.recordedRuns > 1 ? 's' : ''}`,
    ]),
    [
      'total',
      range(formatMs(total.lowMs), formatMs(total.highMs)),
      range(formatUsd(total.low), formatUsd(total.high)),
      '',
    ],
  ]);
}

function servingLines(plan: Plan): string[] {
  const { serving } = plan;
  const month = monthlyServing(plan);
  if (!serving || !month) return [];
  return [
    `serving: ${serving.gpuPools}, ${serving.vramGb} GB for ${serving.maxModelLen} tokens, ${formatUsd(month.workerHour)} per worker and hour while it answers`,
    `serving per month: ${formatUsd(month.idle)} when nobody asks, ${formatUsd(month.oneHourADay)} with one worker for an hour a day, ${formatUsd(month.most)} with ${month.workers} workers all the time`,
  ];
}
