import type { Command } from 'commander';
import { startRun } from '../../client/pipelines.ts';
import { readSpecFile } from '../../client/spec-file.ts';
import type { Stage } from '../../contract/stage-names.ts';
import type { SpecChanges } from '../../domain/spec-changes.ts';
import type { CommandContext } from '../context.ts';
import { refuseUntil, setOption, stageOption } from '../stage-options.ts';
import { showStarted } from '../show-started.ts';

export const runStart = (run: Command, context: () => CommandContext): Command =>
  run
    .command('start')
    .description('start a run; it goes on when this command ends')
    .argument('<spec>', 'YAML or JSON file')
    .option('--watch', 'follow it to its end; Ctrl-C stops watching, not the run')
    .option('--until <stage>', 'the last stage to run; run resume goes on from there', stageOption)
    .option('--set <path=value>', 'change a field of the spec for this run; may be repeated', setOption)
    .addHelpText(
      'after',
      '\nExamples:\n  anneal run start examples/tiny.yaml\n  anneal run start examples/tiny.yaml --watch\n' +
        '  anneal run start examples/tiny.yaml --until ablate --set ablate.trials=8',
    )
    .action(async (file: string, options: { watch?: boolean; until?: Stage; set?: SpecChanges }) => {
      const ctx = context();
      const { until, set } = options;
      const spec = await readSpecFile(file, set);
      refuseUntil(spec, until);
      const started = await startRun(await ctx.temporal(), spec, { until });
      await showStarted(ctx, spec.name, started, options.watch === true);
    });
