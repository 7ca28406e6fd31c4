import type { Command } from 'commander';
import { isOpen, resultOf, viewRun } from '../../client/pipelines.ts';
import type { CommandContext } from '../context.ts';
import { explain, type Explained } from '../explain-error.ts';
import { stageLines } from '../progress-view.ts';
import { renderReport } from '../report.ts';
import { webUiLink } from '../web-ui.ts';

export const runShow = (run: Command, context: () => CommandContext): Command =>
  run
    .command('show')
    .description('show where a run stands, or how it ended')
    .argument('<name>', "the spec's name")
    .option('--run-id <id>', 'an earlier run of this name')
    .addHelpText('after', '\nExamples:\n  anneal run show tiny\n  anneal run show tiny --json')
    .action(async (name: string, options: { runId?: string }) => {
      const { out, temporal, env, now } = context();
      const client = await temporal();
      const view = await viewRun(client, name, options.runId);
      const result = view.status === 'COMPLETED' ? await resultOf(client, view) : null;
      const failure = isOpen(view.status) || result ? null : await failureOf(client, view);
      const link = webUiLink(env, view);
      out.result({ ...view, result, failure, webUi: link }, () => [
        `${name} ${view.progress.release ?? ''} ${view.status}, started ${view.startedAt}`,
        ...(link ? [link] : []),
        '',
        ...(result ? renderReport(result) : stageLines(view, now(), out.live)),
        ...(failure ? ['', failure.message, `  next: ${failure.next}`] : []),
      ]);
    });

/** How a run that did not complete ended, with its next step. */
const failureOf = (
  client: Parameters<typeof resultOf>[0],
  run: Parameters<typeof resultOf>[1],
): Promise<Explained | null> => resultOf(client, run).then(() => null, explain);
