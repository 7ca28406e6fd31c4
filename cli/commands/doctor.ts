import { join } from 'node:path';
import type { Command } from 'commander';
import { doctor as examine } from '../../local/doctor.ts';
import { defaultCacheDir } from '../../local/paths.ts';
import type { CommandContext } from '../context.ts';
import { EXIT } from '../explain-error.ts';
import { liveCheck, refuse, type LiveFlags } from '../live-check.ts';
import { STATE_DIR } from '../local-world.ts';

const MARK = new Map([
  [true, '✔'],
  [false, '✘'],
  [null, '·'],
]);

export const doctor = (program: Command, context: () => CommandContext): Command =>
  program
    .command('doctor')
    .description('look at this machine and at everything the environment points to; changes nothing without --live')
    .option('--live', 'prove on your own RunPod and Hub account what nothing else can; rents one pod for minutes')
    .option('--max-usd <usd>', 'with --live: the most it may cost')
    .option('--yes', 'with --live: agree to the plan beforehand')
    .option('--namespace <name>', "with --live: where its repository is made; the token's own name otherwise")
    .addHelpText('after', '\nExamples:\n  anneal doctor --json\n  anneal doctor --live --max-usd 1')
    .action(async ({ live = false, ...flags }: LiveFlags & { live?: boolean }) => {
      const ctx = context();
      if (live) await liveCheck(ctx, flags);
      else if (Object.keys(flags).length > 0) refuse(ctx, EXIT.usage, 'these flags belong to --live', 'add --live');
      else await localCheck(ctx);
    });

async function localCheck({ out, env, cwd }: CommandContext): Promise<void> {
  const checks = await examine({
    env: { ...env },
    stateDir: join(cwd, STATE_DIR),
    cacheDir: defaultCacheDir({ ...env }),
  });
  out.result(checks, () =>
    checks.flatMap(({ name, ok, detail, remedy }) => [
      `${MARK.get(ok) ?? ' '} ${name.padEnd(22)} ${detail}`,
      ...(ok === false && remedy ? [`  next: ${remedy}`] : []),
    ]),
  );
  if (checks.some((check) => check.ok === false)) process.exitCode = EXIT.failed;
}
