import { InvalidArgumentError, type Command } from 'commander';
import { isOpen, viewRun } from '../../client/pipelines.ts';
import { extendBudget } from '../../client/run-messages.ts';
import { formatUsd } from '../../domain/money.ts';
import type { CommandContext } from '../context.ts';
import { spentNow } from '../progress-view.ts';

export const runBudget = (run: Command, context: () => CommandContext): Command =>
  run
    .command('budget')
    .description("show a run's spend and cap, or raise the cap")
    .argument('<name>', "the spec's name")
    .option('--add <usd>', 'dollars to add to the cap; a run that waits for money goes on', dollars)
    .addHelpText('after', '\nExamples:\n  anneal run budget tiny\n  anneal run budget tiny --add 5')
    .action(async (name: string, options: { add?: number }) => {
      const { out, temporal, now } = context();
      const client = await temporal();
      if (options.add !== undefined) await extendBudget(client, name, options.add);
      const { status, progress } = await viewRun(client, name);
      const { spend, waitingFor } = progress;
      const spent = spentNow(spend, isOpen(status) ? now() : spend.sinceMs);
      out.result({ name, status, spend, spent, waitingFor }, () => [
        `${name}: ${formatUsd(spent)} of ${formatUsd(spend.cap)}, burning ${formatUsd(spend.ratePerHour)}/h`,
        ...(waitingFor === null ? [] : [`waiting for ${waitingFor}`]),
      ]);
    });

function dollars(text: string): number {
  const value = Number(text);
  if (!(value > 0) || value > 100_000) throw new InvalidArgumentError('must be an amount in USD, such as 5 or 0.5');
  return value;
}
