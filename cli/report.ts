import type { AblationMeasure, PipelineResult, StageEstimate } from '../contract/stages.ts';
import { formatMs } from '../domain/duration.ts';
import { addUsd, formatUsd } from '../domain/money.ts';
import { table } from './output.ts';

/** The final report of a run: per stage time, cost and result; then what exists now. */
export function renderReport({
  name,
  release,
  stages,
  outputs,
  spent,
  cap,
  overrun,
  remedies,
}: PipelineResult): string[] {
  const estimates = outputs.plan?.estimate ?? [];
  const rows = stages.map(({ stage, state, endedAtMs, workedMs, cost, note }) => [
    stage,
    endedAtMs === null ? '–' : formatMs(workedMs),
    ...(estimates.length > 0 ? [estimatedTime(estimates.find((row) => row.stage === stage))] : []),
    cost > 0 ? formatUsd(cost) : '–',
    [state, note].filter((text) => text !== '').join(': '),
  ]);
  const { publish, deploy, register, smoke, ablate } = outputs;
  return [
    `${name} ${release}`,
    '',
    ...table([['stage', 'time', ...(estimates.length > 0 ? ['estimated'] : []), 'cost', 'result'], ...rows]),
    '',
    `spent ${formatUsd(spent)} of ${formatUsd(cap)}${estimatedCost(estimates)}${overrun > 0 ? `, OVERRUN ${formatUsd(overrun)}` : ''}`,
    ...remedies.map((note) => `changed     ${note}`),
    ...(ablate
      ? [
          `ablation    trial ${ablate.chosen.index}: ${measured(ablate.chosen.measure)}, KL ${ablate.chosen.kl.toPrecision(3)}`,
        ]
      : []),
    ...(publish ? [`Hub commit  ${publish.repo}@${publish.commit} (tag ${publish.tag})`] : []),
    ...(deploy ? [`endpoint    ${deploy.endpointName} (${deploy.endpointId})`, `base URL    ${deploy.baseUrl}`] : []),
    ...(register ? [`registry    llm_models ${register.modelId} (${register.updated ? 'updated' : 'new'})`] : []),
    ...(register?.warnings ?? []).map((warning) => `note: ${warning}`),
    ...(smoke
      ? [`smoke test  ${smoke.checks.length} checks passed, first token ${smoke.firstTokenMs.toFixed(0)} ms`]
      : []),
    ...(smoke ? [`asked       ${smoke.sample.prompt}`, `answered    ${smoke.sample.answer}`] : []),
  ];
}

const measured = ({ name, base, chosen, outOf }: AblationMeasure): string =>
  outOf === null
    ? `${name} ${base.toPrecision(3)} → ${chosen.toPrecision(3)}`
    : `${name} ${base} → ${chosen} of ${outOf}`;

const estimatedTime = (row: StageEstimate | undefined): string =>
  row ? `${formatMs(row.lowMs)} – ${formatMs(row.highMs)}` : '–';

/** Of the stages on rented pods; warm-up is bounded, not estimated. */
function estimatedCost(estimates: readonly StageEstimate[]): string {
  if (estimates.length === 0) return '';
  const low = addUsd(...estimates.map(({ lowUsd }) => lowUsd));
  const high = addUsd(...estimates.map(({ highUsd }) => highUsd));
  return `; the pod was estimated at ${formatUsd(low)} – ${formatUsd(high)}`;
}
