import type { Command } from 'commander';
import type { CommandContext } from '../context.ts';
import { watchRun } from '../watch-run.ts';

export const runWatch = (run: Command, context: () => CommandContext): Command =>
  run
    .command('watch')
    .description('follow a run to its end; Ctrl-C stops watching, not the run')
    .argument('<name>', "the spec's name")
    .addHelpText('after', '\nExample:\n  anneal run watch tiny')
    .action(async (name: string) => {
      await watchRun(context(), name);
    });
