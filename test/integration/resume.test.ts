import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { resultOf, startRun, viewRun } from '../../client/pipelines.ts';
import type { PipelineSpec, PipelineSpecInput } from '../../contract/spec.ts';
import type { PipelineResult } from '../../contract/stages.ts';
import type { EarlierRunRow } from '../../services/registry/port.ts';
import { runCli } from '../support/cli.ts';
import { specFile, TestWorld, until } from '../support/local-world.ts';
import { aSpec } from '../support/specs.ts';

/** Going on after a failure, over real SSH, real Postgres and the simulators: nothing that was paid for is made again. */

let world: TestWorld;
let cwd: string;

beforeAll(async () => {
  world = await TestWorld.start();
  cwd = await mkdtemp(join(tmpdir(), 'anneal-resume-'));
});
afterEach(async () => {
  await world.clearFaults();
  await world.expectNothingRented();
});
afterAll(async () => {
  await rm(cwd, { recursive: true, force: true });
  await world.stop();
});

function podOnly(name: string, changes: Partial<PipelineSpecInput> = {}): PipelineSpec {
  const { serve: _serve, ...spec } = aSpec({
    name,
    ablate: { trials: 4 },
    publish: { repo: `anneal/${name}` },
    ...changes,
  });
  return spec;
}

/** From here on the Hub takes no upload. */
const refuseUploads = (): Promise<void> =>
  world.fault({ target: 'hub', operation: 'commit', action: { kind: 'status', status: 403 }, times: 100 });

const resume = async (...args: string[]): Promise<PipelineResult> => {
  const { exitCode, stdout, stderr } = await runCli(['run', 'resume', ...args, '--watch', '--json'], {
    cwd,
    env: world.env,
  });
  expect([stderr, exitCode]).toEqual([stderr, 0]);
  return (JSON.parse(stdout) as { result: PipelineResult }).result;
};

const stateOf = ({ stages }: PipelineResult, stage: string): string | undefined =>
  stages.find((report) => report.stage === stage)?.state;

/** A run that fails in publish, when everything before it has been paid for. */
async function failedInPublish(name: string): Promise<EarlierRunRow> {
  await refuseUploads();
  const started = await startRun(world.client, podOnly(name));
  await expect(resultOf(world.client, started)).rejects.toMatchObject({ cause: { type: 'JobFailed' } });
  await world.clearFaults();
  const [row] = await world.registry.earlierRuns(name, 1);
  return row!;
}

test('a further run takes over the ablation of one that failed, byte for byte', async () => {
  const earlier = await failedInPublish('again');
  const result = await resume('again', '--set', 'quantize.groupSize=64');
  expect([stateOf(result, 'ablate'), stateOf(result, 'publish')]).toEqual(['skipped', 'completed']);
  expect(result.outputs.ablate).toEqual(earlier.outputs.ablate);
  expect(result.outputs.quantize?.groupSize).toBe(64);
});

test('a run that was to end after ablate goes on from there, and more trials continue its journal', async () => {
  const ended = await runCli(
    ['run', 'start', '--watch', '--json', '--until', 'ablate', await specFile(cwd, 'until', podOnly('until'))],
    {
      cwd,
      env: world.env,
    },
  );
  expect(ended.exitCode).toBe(0);
  const first = (JSON.parse(ended.stdout) as { result: PipelineResult }).result;
  expect([stateOf(first, 'ablate'), stateOf(first, 'merge')]).toEqual(['completed', 'skipped']);
  const result = await resume('until', '--set', 'ablate.trials=6');
  expect(result.outputs.ablate?.trialsCompleted).toBe(6);
  // Two trials more: the first four were not made again.
  const [latest] = await world.registry.earlierRuns('until', 1);
  const log = (await world.registry.readJobLogs(latest!.runId)).find(({ jobId }) => jobId.endsWith('-ablate'));
  expect(log?.text.match(/"type": ?"trial"/g)).toHaveLength(2);
});

test('a pod that is kept for a person is stopped, started again with its files, and goes on at the failed stage', async () => {
  const budget = { capUsd: 12, idleStopAfter: '2s', park: 'stop', onFailure: { keep: '10m' } } as const;
  await refuseUploads();
  const started = await startRun(world.client, podOnly('kept', { budget }));
  const stopped = await until(async () => {
    const [pod] = (await world.rented()).pods;
    return pod?.desiredStatus === 'EXITED' && pod;
  }, 'the pod is stopped');
  await until(
    async () => (await viewRun(world.client, 'kept')).progress.waitingFor?.startsWith('continueRun'),
    'the run waits for a person',
  );
  await world.clearFaults();
  const answer = await runCli(['run', 'resume', 'kept', '--json'], { cwd, env: world.env });
  expect([answer.stderr, answer.exitCode]).toEqual(['', 0]);
  const result = await resultOf(world.client, started);
  expect(result.outputs.provision?.podId).toBe(stopped.id);
  expect([stateOf(result, 'ablate'), stateOf(result, 'publish')]).toEqual(['completed', 'completed']);
  const jobIds = (await world.registry.readJobLogs(started.runId)).map(({ jobId }) => jobId);
  expect(jobIds.filter((jobId) => /-(ablate|merge|quantize)/.test(jobId))).toHaveLength(3);
});

test('a checkpoint that is not what was recorded is refused before anything is rented', async () => {
  const { runId, checkpointSha256 } = await failedInPublish('bent');
  await world.registry.saveCheckpoint({
    runId,
    stage: 'ablate',
    what: 'ablate.tar',
    sha256: '5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9',
    bytes: Buffer.from('0'),
  });
  const outputs = { checkpoint: { runId, sha256: checkpointSha256! } };
  const started = await startRun(world.client, podOnly('bent'), { outputs });
  await expect(resultOf(world.client, started)).rejects.toMatchObject({ cause: { type: 'OutputMismatch' } });
  expect((await viewRun(world.client, 'bent')).progress.spend.recorded).toBe(0);
});

test.each([
  [['never-ran'], 2, 'there is no run of "never-ran"'],
  [['again', '--set', 'name=other'], 2, 'name cannot change'],
  [['again', '--from', 'lunch'], 2, 'must be one of plan'],
  [['again', '--set', 'quantize.groupSize=7'], 2, 'quantize'],
] as const)('run resume %j says what is wrong', async (args, exitCode, message) => {
  const result = await runCli(['run', 'resume', ...args], { cwd, env: world.env });
  expect([result.exitCode, result.stderr]).toEqual([exitCode, expect.stringContaining(message)]);
});
