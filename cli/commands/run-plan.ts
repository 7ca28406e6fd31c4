import type { Command } from 'commander';
import { readSpecFile } from '../../client/spec-file.ts';
import type { Plan } from '../../contract/stages.ts';
import { formatMs } from '../../domain/duration.ts';
import { addUsd, formatUsd } from '../../domain/money.ts';
import type { CommandContext } from '../context.ts';
import { table } from '../output.ts';

export const runPlan = (run: Command, context: () => CommandContext): Command =>
  run
    .command('plan')
    .description('say what a run would rent, do and cost; changes nothing')
    .argument('<spec>', 'YAML or JSON file')
    .addHelpText(
      'after',
      '\nExample:\n  anneal run plan examples/tiny.yaml\n\nExits 0 when the run could start, 3 when the plan refuses.',
    )
    .action(async (file: string) => {
      const { out, services } = context();
      const plan = await services().plan(await readSpecFile(file));
      out.result(plan, () => renderPlan(plan));
    });

export function renderPlan({ spec, base, needs, ladder, serving, estimate, warnings, release }: Plan): string[] {
  const range = (low: string, high: string): string => (low === high ? low : `${low} – ${high}`);
  const total = {
    low: addUsd(...estimate.map((row) => row.lowUsd)),
    high: addUsd(...estimate.map((row) => row.highUsd)),
  };
  return [
    `${spec.name}: ${base.repo} at ${base.commit.slice(0, 12)} (${base.architecture}, ${(base.totalBytes / 1e9).toFixed(3)} GB, licence ${base.license})`,
    `release ${release}${spec.publish ? `, published to ${spec.publish.repo}` : ', not published'}`,
    '',
    `needs ${needs.vramGb} GB of GPU memory, ${needs.hostMemoryGb} GB of host memory, ${needs.volumeGb} GB volume, ${needs.containerDiskGb} GB container disk`,
    '',
    ...table([
      ['GPU', 'cloud', 'price', 'stock'],
      ...ladder.map((rung) => [rung.gpuTypeId, rung.cloud, `${formatUsd(rung.pricePerHour)}/h`, rung.stock]),
    ]),
    '',
    ...table([
      ['stage', 'time', 'cost'],
      ...estimate.map((row) => [
        row.stage,
        range(formatMs(row.lowMs), formatMs(row.highMs)),
        range(formatUsd(row.lowUsd), formatUsd(row.highUsd)),
      ]),
      ['total', '', range(formatUsd(total.low), formatUsd(total.high))],
    ]),
    '',
    `cap $${spec.budget.capUsd}`,
    ...(serving
      ? [`serving: ${serving.gpuPools}, ${formatUsd(serving.pricePerWorkerHour)} per worker and hour while it answers`]
      : []),
    ...warnings.map((warning) => `note: ${warning}`),
  ];
}
