import { InvalidArgumentError, type Command } from 'commander';
import { listRuns } from '../../client/pipelines.ts';
import type { CommandContext } from '../context.ts';
import { table } from '../output.ts';

export const runList = (run: Command, context: () => CommandContext): Command =>
  run
    .command('list')
    .description('list runs, newest first')
    .option('--limit <n>', 'how many', positive, 20)
    .addHelpText('after', '\nExample:\n  anneal run list --limit 5')
    .action(async (options: { limit: number }) => {
      const { out, temporal } = context();
      const rows = await listRuns(await temporal(), options.limit);
      out.result(rows, () =>
        rows.length === 0
          ? 'no runs yet; start one with: anneal run start <spec>'
          : table([
              ['name', 'status', 'stage', 'spent', 'cap', 'started'],
              ...rows.map((row) => [
                row.name,
                row.status,
                row.stage,
                `$${row.spentUsd.toFixed(4)}`,
                `$${row.budgetUsd}`,
                row.startedAt,
              ]),
            ]),
      );
    });

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 1_000) throw new InvalidArgumentError('must be 1 to 1000');
  return value;
}
