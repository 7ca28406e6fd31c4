import type { Client } from '@temporalio/client';
import type { Command } from 'commander';
import type { SweepReport, SweptThing } from '../../contract/sweep.ts';
import type { CommandContext } from '../context.ts';
import { EXIT } from '../explain-error.ts';
import { table } from '../output.ts';

export const sweep = (program: Command, context: () => CommandContext): Command =>
  program
    .command('sweep')
    .description('end what this installation has rented and no run holds; works without Temporal and without a worker')
    .option('--once', 'one sweep, then exit; this is what it always does, said for cron lines')
    .option('--dry-run', 'say what would be ended; changes nothing')
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  anneal sweep --dry-run',
        '  */10 * * * * node --env-file=/etc/anneal/env /opt/anneal/bin/anneal.js sweep --once   (a line for cron)',
        '',
        'Nothing is ended at first sight: two sweeps must have seen it unheld, ANNEAL_SWEEP_MIN_AGE (10m) apart; what is',
        'past its hard deadline goes at once. Other installations and stable endpoints are never touched. What a run may',
        'still hold stays until that deadline when Temporal does not answer, or TEMPORAL_* names another server than the',
        'one to which this installation is bound: its word about runs does not count.',
        '',
        'Exits 0, or 1 when something that should go would not go.',
      ].join('\n'),
    )
    .action(async ({ dryRun = false }: { dryRun?: boolean }) => {
      const { out, services, temporal } = context();
      const sweeper = services();
      const client = await temporal().catch((error: unknown): Client | null => {
        const why = error instanceof Error ? error.message : String(error);
        out.note(`note: ${why}; only hard deadlines and released holdings count`);
        return null;
      });
      const report = await sweeper.sweep({ client, dryRun });
      out.result(report, () => renderSweep(report));
      if (report.failures.length > 0) process.exitCode = EXIT.failed;
    });

export function renderSweep({ dryRun, looked, ended, kept, reported, failures }: SweepReport): string[] {
  const seen = `looked at ${looked.pod} pods, ${looked.endpoint} endpoints, ${looked.template} templates`;
  const rows = [
    ...ended.map((thing) => toRow(dryRun ? 'would end' : 'ended', thing)),
    ...failures.map((thing) => toRow('FAILED', { ...thing, reason: `${thing.reason}: ${thing.error}` })),
    ...reported.map((thing) => toRow('reported', thing)),
    ...kept.map((thing) => toRow('kept', thing)),
  ];
  if (rows.length === 0) return [`${seen}: none is Anneal's`];
  return [seen, '', ...table([['', 'what', 'id', 'name', 'why'], ...rows])];
}

const toRow = (verb: string, { resource, id, name, reason }: SweptThing): string[] => [
  verb,
  resource,
  id,
  name,
  reason,
];
