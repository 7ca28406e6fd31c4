import { Command } from 'commander';
import { demo } from './commands/demo.ts';
import { doctor } from './commands/doctor.ts';
import { down } from './commands/down.ts';
import { model } from './commands/model.ts';
import { runApprove } from './commands/run-approve.ts';
import { runBudget } from './commands/run-budget.ts';
import { runCancel } from './commands/run-cancel.ts';
import { runLogs } from './commands/run-logs.ts';
import { runList } from './commands/run-list.ts';
import { runPlan } from './commands/run-plan.ts';
import { runResume } from './commands/run-resume.ts';
import { runShow } from './commands/run-show.ts';
import { runStart } from './commands/run-start.ts';
import { runWatch } from './commands/run-watch.ts';
import { runWhy } from './commands/run-why.ts';
import { schedule } from './commands/schedule.ts';
import { sweep } from './commands/sweep.ts';
import { up } from './commands/up.ts';
import type { CommandContext } from './context.ts';

/** Every command. `contextOf` is asked when a command runs, once the flags are known. */
export function createProgram(contextOf: (json: boolean) => CommandContext): Command {
  const program = new Command('anneal')
    .description(
      'From an open-weights model to a live, tested, registered endpoint: durable, inside a budget, nothing left rented.',
    )
    .version('0.1.0')
    .option('--json', 'one JSON document for programs instead of text')
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(add --help for usage and examples)')
    .exitOverride();
  const context = (): CommandContext => contextOf(program.opts<{ json?: boolean }>().json === true);

  const run = program.command('run').description('plan, start and follow runs');
  for (const add of [
    runPlan,
    runStart,
    runList,
    runShow,
    runWatch,
    runCancel,
    runApprove,
    runBudget,
    runResume,
    runLogs,
    runWhy,
  ])
    add(run, context);
  for (const add of [up, down, demo, doctor]) add(program, context);
  model(program, context);
  sweep(program, context);
  schedule(program, context);
  program.addHelpText(
    'after',
    '\nExamples:\n  anneal demo\n  anneal up && anneal run start examples/tiny.yaml --watch && anneal down',
  );
  return program;
}
