import { execFile, spawn } from 'node:child_process';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { repositoryRoot } from '../../local/paths.ts';
import { downWorld } from '../../local/world.ts';
import { withoutForeign } from '../../local/world-env.ts';
import type { Row, RowContext } from '../row.ts';

const run = promisify(execFile);

/** What somebody waits for who has used the project before: packages and tools lie in their caches, nothing else does. */
export const freshClone: Row = {
  name: 'fresh-clone',
  title: 'git clone of HEAD, npm ci, npm run demo, with filled caches',
  measures: [{ key: 'seconds', title: 'fresh clone to finished run', unit: 's', atMost: 60 }],
  limitMs: 600_000,
  run: async (context) => {
    const root = repositoryRoot();
    const { stdout: head } = await run('git', ['-C', root, 'rev-parse', '--short', 'HEAD']);
    const { stdout: changed } = await run('git', ['-C', root, 'status', '--porcelain', '--untracked-files=no']);
    const parent = await mkdtemp(join(tmpdir(), 'anneal-bench-'));
    await context.closing.add(() => rm(parent, { recursive: true, force: true }));
    // As root, PostgreSQL runs as another user and has to get through to its data.
    await chmod(parent, 0o711);
    const clone = join(parent, 'clone');
    await context.closing.add(() => downWorld(join(clone, '.anneal')));
    const steps: string[] = [];
    let total = 0;
    const step = async (name: string, command: string, args: string[], cwd: string): Promise<void> => {
      context.say(name);
      const startedMs = Date.now();
      await toEnd(context, command, args, cwd);
      const seconds = (Date.now() - startedMs) / 1_000;
      total += seconds;
      steps.push(`${name} ${seconds.toFixed(1)} s`);
    };
    await step('git clone', 'git', ['clone', '--quiet', root, clone], parent);
    await step('npm ci', 'npm', ['ci', '--no-audit', '--no-fund', '--prefer-offline'], clone);
    await step('npm run demo', 'npm', ['run', 'demo', '--', '--free-ports'], clone);
    const note = changed.trim() === '' ? '' : '; changes that are not committed are not in it';
    return { figures: { seconds: total }, notes: [steps.join(', '), `commit ${head.trim()}${note}`] };
  },
};

/** Runs a command of a person who has set nothing up. A row that ends asks its whole group to end, and waits for it. */
async function toEnd({ closing }: RowContext, command: string, args: string[], cwd: string): Promise<void> {
  const child = spawn(command, args, {
    cwd,
    env: plainEnvironment(),
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const output: string[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => output.push(data.toString()));
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  await closing.add(async () => {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    process.kill(-child.pid, 'SIGTERM');
    await ended;
  });
  const code = await ended;
  if (code !== 0)
    throw new Error(`${command} ${args.join(' ')} ended with ${code ?? 'a signal'}: ${output.join('').slice(-1_000)}`);
}

/** npm tells its children of the package it runs in; a clone must not hear of this one. */
const plainEnvironment = (): NodeJS.ProcessEnv =>
  Object.fromEntries(
    Object.entries(withoutForeign(process.env)).filter(
      ([name]) => !/^(npm_|ANNEAL_|TEMPORAL_CONFIG_FILE|NODE_OPTIONS|INIT_CWD)/.test(name),
    ),
  );
