import type { Command } from 'commander';
import { startRun } from '../../client/pipelines.ts';
import { readSpecFile } from '../../client/spec-file.ts';
import type { CommandContext } from '../context.ts';
import { webUiLink } from '../web-ui.ts';
import { watchRun } from '../watch-run.ts';

export const runStart = (run: Command, context: () => CommandContext): Command =>
  run
    .command('start')
    .description('start a run; it goes on when this command ends')
    .argument('<spec>', 'YAML or JSON file')
    .option('--watch', 'follow it to its end; Ctrl-C stops watching, not the run')
    .addHelpText(
      'after',
      '\nExamples:\n  anneal run start examples/tiny.yaml\n  anneal run start examples/tiny.yaml --watch',
    )
    .action(async (file: string, options: { watch?: boolean }) => {
      const ctx = context();
      const spec = await readSpecFile(file);
      const started = await startRun(await ctx.temporal(), spec);
      const link = webUiLink(ctx.env, started);
      if (!options.watch) {
        ctx.out.result({ ...started, name: spec.name, webUi: link }, () => [
          `started ${started.workflowId}`,
          ...(link ? [`watch it at ${link}`] : []),
          `follow it with: anneal run watch ${spec.name}`,
        ]);
        return;
      }
      if (link) ctx.out.line(`Web UI: ${link}`);
      await watchRun(ctx, spec.name, started.runId);
    });
