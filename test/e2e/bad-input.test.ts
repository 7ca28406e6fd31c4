import { createServer } from 'node:net';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { repositoryRoot } from '../../local/paths.ts';
import { bareEnvironment, runCli, type CliResult } from '../support/cli.ts';
import { processesOf, specFile, TestWorld } from '../support/local-world.ts';
import { aSpec } from '../support/specs.ts';

let world: TestWorld;
let cwd: string;

beforeAll(async () => {
  world = await TestWorld.start();
  cwd = await mkdtemp(join(tmpdir(), 'anneal-bad-'));
  await chmod(cwd, 0o711);
});
afterAll(async () => {
  await rm(cwd, { recursive: true, force: true });
  await world.stop();
});

/** A command that must fail: returns its words, after checking that nothing was started by it. */
async function refused(args: string[], env: NodeJS.ProcessEnv, exitCode: number): Promise<string> {
  const result: CliResult = await runCli(args, { cwd, env });
  expect([result.exitCode, result.stderr]).toEqual([exitCode, result.stderr]);
  expect(result.stderr).toContain('next: ');
  expect(result.stderr).not.toMatch(/\n {4}at /);
  expect((await world.rented()).pods).toEqual([]);
  expect(await processesOf(cwd)).toEqual([]);
  // A refused plan is the command's result, with its reasons; other refusals are errors.
  return result.stdout + result.stderr;
}

test('a spec with five faults lists five, each with path and line', async () => {
  const file = join(cwd, 'faults.yaml');
  const lines = [
    'name: Not Valid',
    'base: { repo: no-namespace }',
    'toolchain: rehearsal',
    'quantize: gptq',
    'budget: { capUsd: -1 }',
    'colour: red',
  ];
  await writeFile(file, `${lines.join('\n')}\n`);
  const text = await refused(['run', 'start', file], world.env, 2);
  expect(text).toContain('has 5 fault(s)');
  for (const place of [
    'line 1, name',
    'line 2, base.repo',
    'line 4, quantize',
    'line 5, budget.capUsd',
    'line 6, colour',
  ]) {
    expect(text).toContain(place);
  }
});

test('what is not built is refused by name instead of ignored', async () => {
  const compute = { volume: 'network:models' };
  const file = await specFile(cwd, 'gpu', { ...aSpec({ name: 'gpu' }), compute, notify: ['hook'] });
  const text = await refused(['run', 'start', file], world.env, 2);
  expect(text).toMatch(/compute\.volume: .*not built/);
  expect(text).toMatch(/notify: .*not built/);
});

test('an unknown GPU is named and nothing is rented', async () => {
  const file = await specFile(cwd, 'gpu-type', aSpec({ name: 'gpu-type', compute: { gpus: ['NVIDIA Z900'] } }));
  expect(await refused(['run', 'plan', file], world.env, 3)).toContain(
    "NVIDIA Z900: not a GPU type of this account's catalogue",
  );
  expect(await refused(['run', 'start', file, '--watch'], world.env, 3)).toContain('PlanRefused');
});

test('a Temporal that does not answer is named with its address', async () => {
  const file = await specFile(cwd, 'unreachable', aSpec({ name: 'unreachable' }));
  const text = await refused(['run', 'start', file], { ...world.env, TEMPORAL_ADDRESS: '127.0.0.1:1' }, 7);
  expect(text).toContain('Temporal does not answer at 127.0.0.1:1');
});

test.each(['show', 'why', 'watch', 'logs'])(
  'run %s of what is not there says what there is to list',
  async (command) => {
    const named = command === 'watch' ? [] : ['--run-id', 'not-an-id'];
    const text = await refused(['run', command, 'nobody', ...named], world.env, 2);
    expect(text).toContain('there is no run of "nobody"');
    expect(text).toContain('anneal run list');
  },
);

test('a wrong key is refused by the provider without being shown', async () => {
  const file = await specFile(cwd, 'key', aSpec({ name: 'key' }));
  const text = await refused(['run', 'plan', file], { ...world.env, RUNPOD_API_KEY: 'rpa_not_the_key' }, 1);
  expect(text).toContain('RUNPOD_API_KEY');
  expect(text).not.toContain('rpa_not_the_key');
});

test('what a rehearsal makes is never aimed at the public Hub', async () => {
  const file = await specFile(cwd, 'public', aSpec({ name: 'public' }));
  const text = await refused(['run', 'plan', file], { ...world.env, HF_ENDPOINT: 'https://huggingface.co' }, 3);
  expect(text).toContain('never published to the public Hub');
});

test('missing variables are listed together', async () => {
  const file = await specFile(cwd, 'unset', aSpec({ name: 'unset' }));
  const text = await refused(['run', 'plan', file], bareEnvironment(), 2);
  for (const name of ['ANNEAL_INSTALLATION', 'ANNEAL_DATABASE_URL', 'RUNPOD_API_KEY', 'HF_TOKEN'])
    expect(text).toContain(name);
});

test('a machine without Python is told what to install', async () => {
  const env = {
    ...bareEnvironment(),
    PATH: '/nonexistent',
    ANNEAL_PYTHON: '',
    TEMPORAL_CLI_PATH: process.env['TEMPORAL_CLI_PATH'],
  };
  const text = await refused(['up', '--free-ports'], env, 1);
  expect(text).toMatch(/Python 3\.10/);
});

test('a port in use is named', async () => {
  const server = createServer();
  const taken = await new Promise<boolean>((resolve) => {
    server.once('error', () => {
      resolve(true);
    });
    server.listen(7233, '127.0.0.1', () => {
      resolve(false);
    });
  });
  try {
    const text = await refused(['demo', join(repositoryRoot(), 'examples', 'tiny.yaml')], bareEnvironment(), 1);
    expect(text).toContain('7233');
    expect(text).toContain('--free-ports');
  } finally {
    if (!taken) server.close();
  }
});
