import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Client } from '@temporalio/client';
import { NoWorkerAnswers, resultOf, startRun, viewRun, type RunView } from '../../client/pipelines.ts';
import type { PipelineSpec } from '../../contract/spec.ts';
import { runCli, startCli } from '../support/cli.ts';
import { TestWorld, until } from '../support/local-world.ts';
import { Relay } from '../support/relay.ts';
import { aSpec } from '../support/specs.ts';

/** A run that is followed: by workers that lose the server, and by a person who reads its logs meanwhile and afterwards. */

let world: TestWorld;
let relay: Relay;
let farWorker: ChildProcess;
let cwd: string;

beforeAll(async () => {
  world = await TestWorld.start();
  await world.killWorker();
  cwd = await mkdtemp(join(tmpdir(), 'anneal-following-'));
  // The first worker reaches the server through a network that can be taken away.
  const address = world.env['TEMPORAL_ADDRESS'] ?? '';
  const [host = '', port = ''] = address.split(':');
  relay = new Relay({ host, port: Number(port) });
  const far = await relay.listen();
  world.env['TEMPORAL_ADDRESS'] = `${far.host}:${far.port}`;
  await world.startWorker();
  farWorker = world['worker']!;
  world.env['TEMPORAL_ADDRESS'] = address;
});
afterAll(async () => {
  await world.expectNothingRented();
  await world.stop();
  if (farWorker.exitCode === null && farWorker.signalCode === null) {
    const gone = new Promise((resolve) => farWorker.once('exit', resolve));
    farWorker.kill('SIGKILL');
    await gone;
  }
  await relay.refuse();
  await rm(cwd, { recursive: true, force: true });
});

/** undefined while no worker answers. */
const viewed = (name: string): Promise<RunView | undefined> =>
  viewRun(world.client, name).catch((error: unknown) => {
    if (error instanceof NoWorkerAnswers) return undefined;
    throw error;
  });

const cli = (...args: string[]) => runCli(args, { cwd, env: world.env });

function longAblation(): PipelineSpec {
  const {
    serve: _serve,
    publish: _publish,
    ...spec
  } = aSpec({
    name: 'long',
    // A minute, of which a slow machine needs the half until a further attempt follows.
    ablate: { trials: 40, minTrialSeconds: 1.5 },
  });
  return spec;
}

/** How often the server handed out the following of a job, by the last attempt that it recorded. */
async function attemptsOf(client: Client, workflowId: string, stage: string): Promise<number[]> {
  const { events = [] } = await client.workflow.getHandle(workflowId).fetchHistory();
  const followed = new Set(
    (events ?? [])
      .filter(
        ({ activityTaskScheduledEventAttributes: scheduled, userMetadata }) =>
          scheduled?.activityType?.name === 'followJob' &&
          Buffer.from(userMetadata?.summary?.data ?? '')
            .toString()
            .includes(`-${stage}`),
      )
      .map(({ eventId }) => String(eventId)),
  );
  return (events ?? []).flatMap(({ activityTaskStartedEventAttributes: started }) =>
    started && followed.has(String(started.scheduledEventId)) ? [Number(started.attempt)] : [],
  );
}

const numbersOf = (text: string): number[] =>
  [...text.matchAll(/"type":"trial"[^\n]*?"index":(\d+)/g)].map((found) => Number(found[1]));
const EACH_ONCE = Array.from({ length: 40 }, (_, index) => index);

test('a worker that loses the server is superseded, and its log goes on without a doubled or a missing line', async () => {
  const started = await startRun(world.client, longAblation());
  const watched = startCli(['run', 'logs', 'long', '-f', '--json'], { cwd, env: world.env });
  const texts = startCli(['run', 'logs', 'long', '-f', '--stage', 'ablate', '--tail', '3'], { cwd, env: world.env });
  await until(
    () => Promise.resolve(numbersOf(watched.output().replaceAll('\\"', '"')).length >= 3),
    'logs appear while the job runs',
  );
  const shown = await cli('run', 'show', 'long', '--json');
  expect(JSON.parse(shown.stdout)).toMatchObject({
    live: {
      trials: expect.arrayContaining([{ score: expect.any(Number), best: true }]),
      usage: { memory: { usedBytes: expect.any(Number) } },
    },
  });
  const interrupted = startCli(['run', 'logs', 'long', '-f'], { cwd, env: world.env });
  await until(() => Promise.resolve(interrupted.output().includes('── ')), 'logs are shown');
  interrupted.child.kill('SIGINT');
  expect(await interrupted.ended).toMatchObject({ exitCode: 0, stderr: expect.stringContaining('the run goes on') });
  // The job and its follower go on; only the server is out of the follower's reach.
  relay.hang();
  await relay.refuse();
  await world.startWorker();
  const second = await until(async () => {
    const live = (await viewed('long'))?.live ?? null;
    return live !== null && live.attempt >= 2 && live.progress !== null && live;
  }, 'a further attempt follows');
  expect(second.offset).toBeGreaterThan(0);
  // Back again, with an attempt that nobody waits for any more.
  await relay.listen();
  await resultOf(world.client, started);
  expect(await attemptsOf(world.client, started.workflowId, 'ablate')).toEqual([2]);
  const [log] = (await world.registry.readJobLogs(started.runId)).filter(({ jobId }) => jobId.endsWith('-ablate'));
  expect(numbersOf(log?.text ?? '')).toEqual(EACH_ONCE);
  expect(log?.text).not.toContain('left out');
  expect(log?.text).toMatch(/"type":"succeeded"[^\n]*\n$/);

  const { exitCode, stdout } = await watched.ended;
  expect(exitCode).toBe(0);
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { stage: string; podId: string; text: string });
  const ablated = lines.filter(({ stage }) => stage === 'ablate');
  expect(`${ablated.map(({ text }) => text).join('\n')}\n`).toBe(log?.text);
  expect(new Set(lines.map(({ stage }) => stage))).toEqual(
    new Set(['prepare', 'ablate', 'merge', 'quantize', 'verify']),
  );
  const text = (await texts.ended).stdout;
  expect(text).toMatch(/^── r[\d-]+-ablate\n/);
  expect(text.match(/^──/gm)).toHaveLength(1);
  expect(text).toMatch(/\d\d:\d\d:\d\d trial index=39 .*\n/);
});

test('the logs are there after the pod is gone, as text and as one document', async () => {
  const { stdout, exitCode } = await cli('run', 'logs', 'long', '--stage', 'ablate', '--tail', '2');
  expect(exitCode).toBe(0);
  expect(stdout.trimEnd().split('\n')).toEqual([
    expect.stringMatching(/^── .*-ablate$/),
    expect.any(String),
    expect.stringMatching(/ succeeded$/),
  ]);
  const document = JSON.parse((await cli('run', 'logs', 'long', '--json')).stdout) as { jobId: string }[];
  expect(document.map(({ jobId }) => jobId.split('-').at(-1))).toEqual([
    'prepare',
    'ablate',
    'merge',
    'quantize',
    'verify',
  ]);
  const again = await cli('run', 'logs', 'long', '-f', '--tail', '1');
  expect(again.stdout.trimEnd().split('\n')).toHaveLength(10);
});

test.each([
  [['nothing'], 'there is no run of "nothing"'],
  [['long', '--stage', 'lunch'], 'must be a stage with a job: prepare, ablate'],
  [
    ['long', '--stage', 'publish'],
    'no publish job of this run of "long" has left a log; there are logs of: prepare, ablate',
  ],
  [['long', '--tail', '0'], 'must be a number of lines'],
])('run logs %j says what is wrong', async (args, message) => {
  const { exitCode, stderr } = await cli('run', 'logs', ...args);
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining(message)]);
});

test('pieces are cut, kept to their last 2 MB and told apart by pod', async () => {
  const line = `${'x'.repeat(65_535)}\n`;
  for (let at = 0; at < 40; at++) await world.registry.appendJobLog('run-x', 'r1-merge', at * 65_536, line, 'p1');
  await world.registry.appendJobLog('run-x', 'r1-merge', 39 * 65_536, `${line}more\n`, 'p1');
  await world.registry.appendJobLog('run-x', 'r1-merge', 0, 'from the beginning\n', 'p2');
  const [log] = await world.registry.readJobLogs('run-x');
  expect(log?.text.length).toBeLessThan(2.2e6);
  expect(log?.text).toMatch(/^… \d+ bytes left out …\nx/);
  expect(log?.text.endsWith('x\nmore\n… on another pod …\nfrom the beginning\n')).toBe(true);
  const [last] = (await world.registry.jobLogPieces('run-x', 0)).slice(-1);
  expect(await world.registry.jobLogPieces('run-x', last!.seq)).toEqual([]);
  expect(await world.registry.jobLogPieces('run-x', last!.seq - 1)).toEqual([last]);
});
