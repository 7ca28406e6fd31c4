import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { bareEnvironment, runCli, startCli } from '../support/cli.ts';

/** The command line as a process: usage, signals. No world is needed. */

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'anneal-process-'));
});
afterAll(() => rm(cwd, { recursive: true, force: true }));

test.each([
  ['run show', "missing required argument 'name'"],
  ['run show tiny --bogus', "unknown option '--bogus'"],
  ['run list --limit 0', "option '--limit <n>' argument '0' is invalid. must be 1 to 1000"],
  ['run approve tiny lunch', 'Allowed choices are provision, deploy.'],
  ['nonsense', "unknown command 'nonsense'"],
  ['run', 'a command is missing'],
])('the usage fault of `%s` is a document for programs, and words for people', async (args, message) => {
  const { exitCode, stdout, stderr } = await runCli([...args.split(' '), '--json'], { cwd, env: bareEnvironment() });
  expect(exitCode).toBe(2);
  expect(JSON.parse(stdout)).toEqual({
    error: { type: 'Usage', message: expect.stringContaining(message), next: expect.stringContaining('--help') },
  });
  expect(stderr).toMatch(/^(error|Usage): /);
});

test('help is no fault', async () => {
  const { exitCode, stdout } = await runCli(['run', 'show', '--help', '--json'], { cwd, env: bareEnvironment() });
  expect([exitCode, stdout]).toEqual([0, expect.stringContaining('Usage: anneal run show')]);
});

test.each(['SIGINT', 'SIGTERM'] as const)('%s ends a command that has nothing to end by itself', async (signal) => {
  // Takes the connection and never answers.
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const connected = once(server, 'connection');
  const env = { ...bareEnvironment(), TEMPORAL_ADDRESS: `127.0.0.1:${(server.address() as AddressInfo).port}` };
  try {
    const { child, ended } = startCli(['run', 'list'], { cwd, env });
    await connected;
    child.kill(signal);
    expect(await ended).toEqual({ exitCode: 130, stdout: '', stderr: '' });
  } finally {
    server.close();
  }
});
