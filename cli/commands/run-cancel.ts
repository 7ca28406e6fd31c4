import type { Command } from 'commander';
import { cancelRun } from '../../client/pipelines.ts';
import type { CommandContext } from '../context.ts';
import { EXIT } from '../explain-error.ts';
import { watchRun } from '../watch-run.ts';

export const runCancel = (run: Command, context: () => CommandContext): Command =>
  run
    .command('cancel')
    .description('cancel a run: its pod and candidate endpoint are ended first')
    .argument('<name>', "the spec's name")
    .option('--reason <text>', 'kept in the history', 'cancelled by a person')
    .option('--no-wait', 'do not wait until everything is gone')
    .addHelpText('after', '\nExample:\n  anneal run cancel tiny --reason "wrong base model"')
    .action(async (name: string, options: { reason: string; wait: boolean }) => {
      const ctx = context();
      const cancelled = await cancelRun(await ctx.temporal(), name, options.reason);
      if (!options.wait) {
        ctx.out.result(cancelled, () => `asked ${cancelled.workflowId} to stop; see: anneal run show ${name}`);
        return;
      }
      const ended = await watchRun(ctx, name, cancelled.runId).catch((error: unknown) => {
        const { cause } = error as { cause?: { name?: string } };
        if (cause?.name !== 'CancelledFailure') throw error;
        return null;
      });
      if (ended === null)
        ctx.out.result({ ...cancelled, status: 'CANCELLED' }, () => 'cancelled; nothing of this run is rented');
      else if (ended !== undefined) process.exitCode = EXIT.failed;
    });
