import type { Command } from 'commander';
import {
  deleteSchedule,
  ensureSchedule,
  listSchedules,
  pauseSchedule,
  resumeSchedule,
  triggerSchedule,
} from '../../client/schedules.ts';
import { readSchedulesFile } from '../../client/schedules-file.ts';
import type { CommandContext } from '../context.ts';
import { table } from '../output.ts';

/** `anneal schedule …`: what the Temporal server starts by itself, from one file. */
export function schedule(program: Command, context: () => CommandContext): void {
  const group = program
    .command('schedule')
    .description('sweeps and nightly re-deploys, started by the Temporal server');

  group
    .command('ensure')
    .description('bring the schedules of a file into being, or up to date; idempotent')
    .argument('[file]', 'YAML file', 'schedules.yaml')
    .addHelpText('after', '\nExample:\n  anneal schedule ensure examples/schedules.yaml')
    .action(async (file: string) => {
      const { out, temporal } = context();
      const specs = await readSchedulesFile(file);
      const client = await temporal();
      const done: { id: string; outcome: string }[] = [];
      for (const spec of specs) done.push({ id: spec.id, outcome: await ensureSchedule(client, spec) });
      out.result(done, () => done.map(({ id, outcome }) => `${id} ${outcome}`));
    });

  group
    .command('list')
    .description('list the schedules with their next and last start')
    .addHelpText('after', '\nExample:\n  anneal schedule list --json')
    .action(async () => {
      const { out, temporal } = context();
      const rows = await listSchedules(await temporal());
      out.result(rows, () =>
        rows.length === 0
          ? 'no schedules yet; make them with: anneal schedule ensure <file>'
          : table([
              ['id', 'workflow', 'state', 'next', 'last'],
              ...rows.map((row) => [
                row.id,
                row.workflow,
                row.paused ? 'paused' : 'active',
                row.next ?? '–',
                row.last ?? '–',
              ]),
            ]),
      );
    });

  group
    .command('pause')
    .description('stop a schedule from starting anything, or with --off let it start again')
    .argument('<id>')
    .option('--off', 'end the pause')
    .option('--note <text>', 'shown beside the schedule', 'paused by a person')
    .addHelpText(
      'after',
      '\nExamples:\n  anneal schedule pause nightly-tiny\n  anneal schedule pause nightly-tiny --off',
    )
    .action(async (id: string, options: { off?: boolean; note: string }) => {
      const { out, temporal } = context();
      const client = await temporal();
      await (options.off ? resumeSchedule(client, id) : pauseSchedule(client, id, options.note));
      out.result({ id, paused: !options.off }, () => `${id} is ${options.off ? 'active' : 'paused'}`);
    });

  const simple = (verb: string, what: string, act: typeof triggerSchedule, said: string): void => {
    group
      .command(verb)
      .description(what)
      .argument('<id>')
      .addHelpText('after', `\nExample:\n  anneal schedule ${verb} nightly-tiny`)
      .action(async (id: string) => {
        const { out, temporal } = context();
        await act(await temporal(), id);
        out.result({ id, done: verb }, () => `${id} ${said}`);
      });
  };
  simple('trigger', 'start what a schedule starts, now', triggerSchedule, 'triggered');
  simple('delete', 'remove a schedule; what it started goes on', deleteSchedule, 'deleted');
}
