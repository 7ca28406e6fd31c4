import type { Command } from 'commander';
import type { CommandContext } from '../context.ts';
import { stopWorld } from '../local-world.ts';

export const down = (program: Command, context: () => CommandContext): Command =>
  program
    .command('down')
    .description('end the local world of this folder; its data stays in .anneal')
    .addHelpText('after', '\nExample:\n  anneal down')
    .action(async () => {
      const ctx = context();
      const ended = await stopWorld(ctx);
      ctx.out.result({ ended }, () => (ended === 0 ? 'no local world was running here' : 'the local world is down'));
    });
