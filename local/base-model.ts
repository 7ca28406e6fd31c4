import { createHash } from 'node:crypto';
import { access, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { LocalError } from './errors.ts';
import { lastWords, runCommand } from './run-command.ts';

const MAKE_MS = 120_000;
const SEED = '1';

export interface BaseModelOptions {
  python: string;
  jobsDir: string;
  stateDir: string;
  env: NodeJS.ProcessEnv;
  signal: AbortSignal;
}

/** The folder with the tiny base model, made on the spot once per version of the program that makes it. */
export async function ensureBaseModel({ python, jobsDir, stateDir, env, signal }: BaseModelOptions): Promise<string> {
  const program = await readFile(join(jobsDir, 'toolchains', 'rehearsal', 'make_base.py')).catch(() => {
    throw new LocalError('model', 'jobs/toolchains/rehearsal/make_base.py is missing; is the checkout complete?');
  });
  const folder = join(stateDir, `tiny-base-${createHash('sha256').update(program).digest('hex').slice(0, 12)}`);
  const exists = await access(folder).then(
    () => true,
    () => false,
  );
  if (exists) return folder;
  const unfinished = `${folder}.making`;
  await rm(unfinished, { recursive: true, force: true });
  const args = ['-m', 'toolchains.rehearsal.make_base', '--out', unfinished, '--seed', SEED];
  const result = await runCommand(python, args, { env, cwd: jobsDir, timeoutMs: MAKE_MS, signal });
  if (!result.ok)
    throw new LocalError('model', `The tiny base model could not be made:\n${lastWords(result.output, 8)}`);
  await rename(unfinished, folder);
  return folder;
}
