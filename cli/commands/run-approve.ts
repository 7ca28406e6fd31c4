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
    .option('--by <person>', 'who approves; kept in the history (default: your user name)')
    .option('--note <text>', 'kept in the history', '')
    .addHelpText('after', '\nExample:\n  anneal run approve tiny deploy --note "figures look right"')
    .action(async (name: string, stage: 'provision' | 'deploy', options: { by?: string; note: string }) => {
      const { out, temporal, env } = context();
      const { by = userName(env), note } = options;
      const approved = await approveRun(await temporal(), name, { stage, by, note });
      out.result({ name, ...approved }, () => `approved ${stage} of ${name}; it goes on`);
    });

/** A uid without a passwd entry, as containers have, has no name to look up. */
function userName(env: CommandContext['env']): string {
  try {
    return userInfo().username;
  } catch {
    return env['USER'] ?? 'unknown';
  }
}
