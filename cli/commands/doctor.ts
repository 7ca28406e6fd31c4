import { join } from 'node:path';
import type { Command } from 'commander';
import { doctor as examine } from '../../local/doctor.ts';
import { defaultCacheDir } from '../../local/paths.ts';
import type { CommandContext } from '../context.ts';
import { EXIT } from '../explain-error.ts';
import { STATE_DIR } from '../local-world.ts';

const MARK = new Map([
  [true, '✔'],
  [false, '✘'],
  [null, '·'],
]);

export const doctor = (program: Command, context: () => CommandContext): Command =>
  program
    .command('doctor')
    .description('look at this machine and at everything the environment points to; changes nothing')
    .addHelpText('after', '\nExample:\n  anneal doctor --json')
    .action(async () => {
      const { out, env, cwd } = context();
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
    });
