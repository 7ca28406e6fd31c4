import type { Command } from 'commander';
import { readSpecFile } from '../../client/spec-file.ts';
import type { SpecChanges } from '../../domain/spec-changes.ts';
import type { CommandContext } from '../context.ts';
import { EXIT } from '../explain-error.ts';
import { renderPlan } from '../plan-view.ts';
import { setOption } from '../stage-options.ts';

export const runPlan = (run: Command, context: () => CommandContext): Command =>
  run
    .command('plan')
    .description('say what a run would rent, do and cost, and whether it can start; changes nothing')
    .argument('<spec>', 'YAML or JSON file')
    .option('--set <path=value>', 'change a field of the spec for this plan; may be repeated', setOption)
    .addHelpText(
      'after',
      '\nExamples:\n  anneal run plan examples/tiny.yaml\n  anneal run plan examples/tiny.yaml --set compute.maxUsdPerHour=3 --json\n' +
        '\nExits 0 when the run can start, 3 when it cannot; then every reason is listed.',
    )
    .action(async (file: string, { set }: { set?: SpecChanges }) => {
      const { out, services } = context();
      const { plan, refusals } = await services().plan(await readSpecFile(file, set));
      const canStart = refusals.length === 0;
      out.result({ canStart, refusals, plan }, () => [
        ...renderPlan(plan),
        '',
        ...(canStart
          ? [`this run can start: anneal run start ${file}`]
          : ['this run cannot start:', ...refusals.map((reason) => `  ✘ ${reason}`)]),
      ]);
      if (canStart) return;
      process.exitCode = EXIT.refused;
      if (!out.json) out.note('  next: correct what is named, then plan again');
    });
