import type { Command } from 'commander';
import { isOpen, resultOf, viewRun } from '../../client/pipelines.ts';
import type { Stage } from '../../contract/stage-names.ts';
import type { CommandContext } from '../context.ts';
import { errorPage } from '../error-page.ts';
import { explain } from '../explain-error.ts';
import { readable, stageOf } from '../log-view.ts';
import { renderWhy, whyOf } from '../why.ts';

const LOG_LINES = 12;

export const runWhy = (run: Command, context: () => CommandContext): Command =>
  run
    .command('why')
    .description('explain in a paragraph why a run failed, or what it is doing or waiting for, and what to do next')
    .argument('<name>', "the spec's name")
    .option('--run-id <id>', 'an earlier run of this name')
    .addHelpText('after', '\nExamples:\n  anneal run why tiny\n  anneal run why tiny --json')
    .action(async (name: string, { runId }: { runId?: string }) => {
      const { out, temporal, services, now } = context();
      const client = await temporal();
      const view = await viewRun(client, name, runId);
      const failure = isOpen(view.status) ? null : await resultOf(client, view).then(() => null, explain);
      const stage = view.progress.stages.find(({ state }) => state === 'failed')?.stage;
      const log = stage && failure ? await lastLines(services, view.runId, stage) : [];
      const meaning = failure ? await errorPage(failure.type) : null;
      const why = whyOf(view, failure, { meaning, log, nowMs: now() });
      out.result(why, () => renderWhy(why));
    });

/** A registry that is away, or not configured, costs the log, not the explanation. */
async function lastLines(services: CommandContext['services'], runId: string, stage: Stage): Promise<string[]> {
  const logs = await Promise.resolve()
    .then(() => services().registry.readJobLogs(runId))
    .catch(() => []);
  const last = logs.filter(({ jobId }) => stageOf(jobId) === stage).at(-1);
  return (last?.text ?? '')
    .trimEnd()
    .split('\n')
    .slice(-LOG_LINES)
    .map(readable)
    .filter((line) => line !== '');
}
