import { userInfo } from 'node:os';
import { Argument, type Command } from 'commander';
import { approveRun } from '../../client/run-messages.ts';
import type { CommandContext } from '../context.ts';

export const runApprove = (run: Command, context: () => CommandContext): Command =>
  run
    .command('approve')
    .description('let a run go on that waits for a person (approvals in its spec)')
    .argument('<name>', "the spec's name")
    .addArgument(new Argument('<stage>', 'what it waits before').choices(['provision', 'deploy']))
    .option('--by <person>', 'who approves; kept in the history', userInfo().username)
    .option('--note <text>', 'kept in the history', '')
    .addHelpText('after', '\nExample:\n  anneal run approve tiny deploy --note "figures look right"')
    .action(async (name: string, stage: 'provision' | 'deploy', options: { by: string; note: string }) => {
      const { out, temporal } = context();
      const approved = await approveRun(await temporal(), name, { stage, ...options });
      out.result({ name, ...approved }, () => `approved ${stage} of ${name}; it goes on`);
    });
