import type { Command } from 'commander';
import type { CommandContext } from '../context.ts';
import type { World } from '../../local/world.ts';
import { startWorld } from '../local-world.ts';

export const up = (program: Command, context: () => CommandContext): Command =>
  program
    .command('up')
    .description('start a whole local world: Temporal with Web UI, Postgres, RunPod and Hub simulators, worker')
    .option('--free-ports', 'let the system choose ports instead of 7233 and 8233')
    .addHelpText(
      'after',
      '\nExamples:\n  anneal up\n  anneal up --free-ports\n\nThe first time prepares Temporal and Python, which takes minutes; afterwards seconds.\n' +
        'In a world of which a part has died, only that part is started again; what runs on goes on.',
    )
    .action(async (options: { freePorts?: boolean }) => {
      const ctx = context();
      const world = await startWorld(ctx, options);
      ctx.out.result(
        { urls: world.urls, ports: world.ports, reused: world.reused, restarted: world.restarted, logs: world.logs },
        () => [
          '',
          standing(world),
          `Web UI: ${world.env['ANNEAL_TEMPORAL_UI_URL'] ?? '–'}`,
          'start a run with: anneal run start examples/tiny.yaml --watch',
          'end it with:      anneal down',
        ],
      );
    });

function standing({ reused, restarted }: World): string {
  if (reused) return 'the local world is up already';
  if (restarted.length === 0) return 'the local world is up';
  return `the local world is up; started again: ${restarted.join(', ')}, and the rest went on`;
}
