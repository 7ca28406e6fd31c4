import type { Command } from 'commander';
import { viewRun } from '../../client/pipelines.ts';
import { POD_JOB_STAGES } from '../../contract/stage-names.ts';
import type { CommandContext } from '../context.ts';

export const runLogs = (run: Command, context: () => CommandContext): Command =>
  run
    .command('logs')
    .description("show what is kept of a run's job logs (the end of each, also after the pod is gone)")
    .argument('<name>', "the spec's name")
    .option('--stage <stage>', 'only this stage')
    .option('--run-id <id>', 'an earlier run of this name')
    .addHelpText('after', '\nExamples:\n  anneal run logs tiny\n  anneal run logs tiny --stage ablate')
    .action(async (name: string, options: { stage?: string; runId?: string }) => {
      const { out, temporal, services } = context();
      const { runId } = await viewRun(await temporal(), name, options.runId);
      const all = (await services().registry.readJobLogs(runId)).sort((a, b) => order(a.jobId) - order(b.jobId));
      const { stage } = options;
      const kept = stage === undefined ? all : all.filter(({ jobId }) => jobId.split('-').includes(stage));
      out.result(kept, () =>
        kept.length === 0
          ? 'no job of this run has ended yet; a running one is followed with: anneal run watch'
          : kept.flatMap(({ jobId, text }) => [`── ${jobId}`, text.trimEnd()]),
      );
    });

/** Jobs in the order of their stages. */
const order = (jobId: string): number => POD_JOB_STAGES.findIndex((stage) => jobId.split('-').includes(stage));
