import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { resultOf, startRun, viewRun, type RunView } from '../../client/pipelines.ts';
import type { PipelineSpecInput } from '../../contract/spec.ts';
import { repositoryRoot } from '../../local/paths.ts';
import { runCli } from '../support/cli.ts';
import { aSpec } from '../support/specs.ts';
import { TestWorld, until } from '../support/local-world.ts';

/** What a run rents, on the local world: two pods where one GPU cannot do all, and turns among runs of one account. */

const [H100, A100] = ['NVIDIA H100 80GB HBM3', 'NVIDIA A100-SXM4-80GB'] as const;

let world: TestWorld;

beforeAll(async () => {
  world = await TestWorld.start();
});
afterEach(async () => {
  await world.setBalance(100);
  await world.setStock(H100, 'High');
  await world.expectNothingRented();
});
afterAll(() => world.stop());

function rehearsal(name: string, changes: Partial<PipelineSpecInput> = {}): ReturnType<typeof aSpec> {
  const { serve: _serve, publish: _publish, ...spec } = aSpec({ name, ablate: { trials: 4 }, ...changes });
  return spec;
}

const seen = (name: string, ready: (view: RunView) => boolean, what: string): Promise<RunView> =>
  until(async () => {
    const view = await viewRun(world.client, name);
    return ready(view) ? view : undefined;
  }, what);

test('one pod ablates and goes, another merges and quantizes with its adapter', async () => {
  const compute = { gpus: [H100], quantize: { gpus: [A100] } };
  const result = await resultOf(world.client, await startRun(world.client, rehearsal('two-pods', { compute })));
  const { ablate, merge, provision, verify } = result.outputs;
  expect(ablate).toMatchObject({ trialsCompleted: 4 });
  expect(merge!.changedTensors).toBeGreaterThan(0);
  expect(verify!.kl).not.toBeNull();
  expect(provision).toMatchObject({ gpuTypeId: A100, podName: expect.stringMatching(/-a2$/) });
  const { meters } = (await world.rented()).ledger;
  expect(Object.keys(meters).length).toBeGreaterThanOrEqual(2);
});

test('a run waits while the balance is promised to another, says so, and goes on when that one ends', async () => {
  await world.setBalance(20);
  const slow = { trials: 30, minTrialSeconds: 0.3 };
  const first = await startRun(world.client, rehearsal('first', { ablate: slow, budget: { capUsd: 12 } }));
  await seen('first', ({ progress }) => progress.activeJob?.stage === 'ablate', 'the first run ablates');
  const second = await startRun(world.client, rehearsal('second', { budget: { capUsd: 12 } }));
  const waiting = await seen(
    'second',
    ({ triedRungs }) => triedRungs.length > 0,
    'the second run says what it waits for',
  );
  expect(waiting.triedRungs.join()).toMatch(
    /is promised to other runs with \$1[12]\.\d+, and this one may need \$12\.00/,
  );
  expect((await world.rented()).pods).toHaveLength(1);
  await resultOf(world.client, first);
  const { outputs, stages } = await resultOf(world.client, second);
  expect(outputs.provision!.tried.join()).toBe('');
  expect(stages.find(({ stage }) => stage === 'verify')).toMatchObject({ state: 'completed' });
});

test('a plan learns from what was run, and shows what another GPU would take by formula', async () => {
  const spec = rehearsal('learned', { compute: { gpus: [H100] } });
  const first = await resultOf(world.client, await startRun(world.client, spec));
  const again = await resultOf(world.client, await startRun(world.client, spec));
  const ablation = (result: typeof first) => result.outputs.plan!.estimate.find(({ stage }) => stage === 'ablate');
  expect(ablation(again)!.recordedRuns).toBeGreaterThan(0);
  const { workedMs } = first.stages.find(({ stage }) => stage === 'ablate')!;
  expect(ablation(again)!.lowMs).toBeLessThanOrEqual(workedMs);
  expect(ablation(again)!.highMs).toBeGreaterThanOrEqual(workedMs);
  const other = await resultOf(
    world.client,
    await startRun(world.client, rehearsal('learned', { compute: { gpus: [A100] } })),
  );
  expect(ablation(other)!.recordedRuns).toBe(0);
});

test('run why tells of a failed run what happened, what it means, the end of the log and the next step', async () => {
  const spec = rehearsal('choosy', { ablate: { trials: 3, maxKl: 0.000_000_1 } });
  const started = await startRun(world.client, spec);
  await expect(resultOf(world.client, started)).rejects.toThrow();
  const { exitCode, stdout } = await runCli(['run', 'why', 'choosy'], { env: world.env, cwd: repositoryRoot() });
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/^choosy r\d{8}-\d{6} failed in ablate after .* on NVIDIA H100 80GB HBM3, having spent/);
  expect(stdout).toContain('A program on the pod ended without success.');
  expect(stdout).toMatch(/The end of the log of ablate:\n.*trial/s);
  expect(stdout).toMatch(/next: \S/);
});
