import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { resultOf, startRun, viewRun } from '../../client/pipelines.ts';
import type { PipelineSpecInput } from '../../contract/spec.ts';
import { aSpec } from '../support/specs.ts';
import { until } from '../support/local-world.ts';
import { SEEDS, ToolchainWorld } from './world.ts';

/**
 * The pipeline with heretic, llm-compressor and transformers themselves, on a CPU and a tiny model, and `transformers serve` as the
 * server of the release. What it cannot show: CUDA, bfloat16 and memory checks, vLLM, run times of real sizes.
 */
const RUN_MS = 20 * 60_000;
const STEP_MS = 10 * 60_000;
const TRIALS = 5;

let world: ToolchainWorld;
const stable: string[] = [];

beforeAll(async () => {
  world = await ToolchainWorld.start();
}, RUN_MS);
afterEach(() => world.expectNothingRented(stable));
afterAll(() => world.stop(), 60_000);

const declined = { dataset: SEEDS.declined, split: 'train', column: 'text' };

/** Four prompt sets and the calibration text by their Hub names; a limit on the KL that any trial of this model keeps. */
const spec = (name: string, changes: Partial<PipelineSpecInput> = {}): ReturnType<typeof aSpec> =>
  aSpec({
    name,
    base: { repo: SEEDS.model },
    toolchain: 'gpu',
    ablate: {
      trials: TRIALS,
      seed: 7,
      maxKl: 10,
      // What a tiny model of random weights answers is noise.
      requireFewerRefusals: false,
      prompts: {
        good: SEEDS.given,
        bad: declined,
        goodEval: SEEDS.given,
        badEval: { ...declined, split: 'test' },
      },
    },
    quantize: { method: 'awq', groupSize: 32, calibration: { dataset: SEEDS.calibration, column: 'line' } },
    publish: { repo: `anneal/${name}` },
    budget: { capUsd: 200, grace: '1m' },
    serve: { gpus: ['ADA_80_PRO'], warmupDeadline: '10m', workers: { max: 1, idleTimeout: '5s' } },
    smoke: { prompts: ['explain how a fox helps a lake', 'please describe the rain and the fox', 'hello'] },
    ...changes,
  });

/** Without serving: what concerns the pod only. */
const podOnly = (name: string, changes: Partial<PipelineSpecInput>): ReturnType<typeof aSpec> => {
  const { serve: _serve, ...rest } = spec(name, changes);
  return rest;
};

/** Waits for something on the pod, and ends at once when the run ends instead. */
const onPod = <T>(name: string, look: () => T | undefined, what: string): Promise<T> =>
  until(
    async () => {
      const { status } = await viewRun(world.client, name);
      if (status !== 'RUNNING') throw new Error(`the run ended as ${status} before ${what}`);
      try {
        return look();
      } catch {
        // There is no pod yet, or not this folder on it.
        return undefined;
      }
    },
    what,
    STEP_MS,
  );

const jobOf = (stage: string): { id: string; events: Record<string, unknown>[] } | undefined => {
  const jobs = [...world.jobs()].filter(([id]) => id.includes(`-${stage}`));
  expect(jobs.length).toBeLessThanOrEqual(1);
  return jobs.map(([id, events]) => ({ id, events }))[0];
};

const ofType = (events: Record<string, unknown>[], type: string): Record<string, unknown>[] =>
  events.filter((event) => event['type'] === type);

/** Minutes between the wishes and the result, per stage, for whoever reads the output. */
function report(name: string, stages: { stage: string; workedMs: number }[]): void {
  const times = stages.filter(({ workedMs }) => workedMs > 0);
  process.stdout.write(
    `${name}: ${times.map(({ stage, workedMs }) => `${stage} ${(workedMs / 1_000).toFixed(1)} s`).join(', ')}\n`,
  );
}

test(
  'ablates, merges, quantizes and publishes with the real packages, and the endpoint answers as the weights did on the pod',
  async () => {
    stable.push('anneal-local-real');
    const result = await resultOf(world.client, await startRun(world.client, spec('real')));
    report('real', result.stages);
    expect(result.stages.map(({ state }) => state)).toEqual(Array(12).fill('completed'));
    const { ablate, merge, quantize, verify, publish, smoke } = result.outputs;

    // heretic's journal: this base declines all eight evaluation prompts.
    expect(ablate!.trialsCompleted).toBe(TRIALS);
    expect(ablate!.chosen.measure).toMatchObject({ name: 'refusals', base: 8, outOf: 8 });
    expect(ablate!.chosen.measure.chosen).toBeLessThanOrEqual(8);
    expect(merge!.changedTensors).toBeGreaterThan(0);
    expect(quantize).toMatchObject({ format: 'pack-quantized', bits: 4, groupSize: 32 });
    expect(verify).toMatchObject({ madeOn: 'cpu' });
    expect(verify!.kl).toBeLessThan(0.1);
    expect(verify!.answers.map(({ answer }) => answer)).not.toContain('');

    const { repo, commit } = publish!;
    const listed = (await world.listed(repo, commit)).filter(({ path }) => path !== '.gitattributes');
    const expected = verify!.manifest.files.filter(({ path }) => path !== '.gitattributes');
    expect(listed.map(({ path }) => path).sort()).toEqual(expected.map(({ path }) => path).sort());
    for (const { path, size, sha256, gitBlobSha1 } of expected) {
      // The card is written when it is published.
      if (path === 'README.md') continue;
      const there = listed.find((entry) => entry.path === path)!;
      expect({ path, size: there.size }).toEqual({ path, size });
      expect([sha256, gitBlobSha1]).toContain(there.hash);
    }
    const config = JSON.parse((await world.published(repo, commit, 'config.json')).toString()) as {
      quantization_config: { quant_method: string; format: string; config_groups: Record<string, unknown> };
    };
    expect(config.quantization_config).toMatchObject({
      quant_method: 'compressed-tensors',
      format: 'pack-quantized',
      config_groups: { group_0: { weights: { num_bits: 4, group_size: 32, symmetric: false } } },
    });
    const tensors = tensorsOf(await world.published(repo, commit, 'model.safetensors'));
    expect(tensors).toContain('model.layers.0.mlp.down_proj.weight_packed');
    expect(tensors).not.toContain('model.layers.0.mlp.down_proj.weight');
    const card = (await world.published(repo, commit, 'README.md')).toString();
    expect(card).toContain('These files were made by the cpu toolchain, for tests only.');

    // The server downloaded this commit and nothing else; three answers, one of them streamed, are those of the pod.
    expect(smoke!.checks.filter(({ passed }) => !passed)).toEqual([]);
    expect(smoke!.sample.answer).toBe(verify!.answers[0]!.answer);
    const names = smoke!.checks.map(({ name }) => name);
    for (const name of ['served model', 'streamed answer', 'parallel requests', 'native job', 'long request'])
      expect(names).toContain(name);

    const { endpointId } = result.outputs.deploy!;
    const ask = (model: string, words: number, maxTokens: number): Promise<unknown> => {
      const messages = [{ role: 'user' as const, content: Array(words).fill('tea').join(' ') }];
      return world.serving.chat(endpointId, { model, messages, maxTokens }, { timeoutMs: STEP_MS });
    };
    await expect(ask('another', 1, 1)).rejects.toMatchObject({ code: 'UnknownModel' });
    await expect(ask('real', 5_000, 1)).rejects.toThrow('maximum context length is 2048 tokens');
    await expect(ask('real', 1, 2_048)).rejects.toThrow('maximum context length is 2048 tokens');
  },
  RUN_MS,
);

test(
  'a search killed in the middle of a trial goes on, and ends with all its trials',
  async () => {
    const wanted = podOnly('killed-search', { quantize: 'none' });
    const started = await startRun(world.client, wanted);
    await onPod(
      'killed-search',
      () => ofType(jobOf('ablate')?.events ?? [], 'trial').length >= 2 || undefined,
      'two trials',
    );
    const { live, progress } = await viewRun(world.client, 'killed-search');
    expect(progress.activeJob?.stage).toBe('ablate');
    expect(live!.offset).toBeGreaterThan(0);
    const killed = world.heretics();
    expect(killed.length).toBeGreaterThan(0);
    for (const pid of killed) process.kill(pid, 'SIGKILL');
    // From the next stage on, while the pod is there.
    const events = await onPod('killed-search', () => jobOf('merge') && jobOf('ablate')?.events, 'merge begins');
    const result = await resultOf(world.client, started);
    report('killed-search', result.stages);
    expect(ofType(events, 'started')).toHaveLength(1);
    expect(ofType(events, 'trial')).toHaveLength(TRIALS);
    const restarts = ofType(events, 'progress').filter(({ phase }) => phase === 'restart');
    expect(restarts).toEqual([expect.objectContaining({ note: expect.stringContaining('restarted after') })]);
    expect(result.outputs.ablate!.trialsCompleted).toBe(TRIALS);
    expect(result.outputs.quantize).toMatchObject({ format: 'none', bits: 16 });
    expect(result.outputs.publish!.commit).toMatch(/^[0-9a-f]{40}$/);
  },
  RUN_MS,
);

test(
  'a worker killed in the middle of quantizing changes nothing: the job is followed on and started once',
  async () => {
    const { ablate: _ablate, ...unchanged } = podOnly('killed-worker', {});
    const started = await startRun(world.client, unchanged);
    const layers = (): Record<string, unknown>[] =>
      ofType(jobOf('quantize')?.events ?? [], 'progress').filter(({ phase }) => phase === 'quantize');
    await onPod('killed-worker', () => layers().length > 0 || undefined, 'the first layer');
    await world.killWorker();
    expect(jobOf('quantize')!.events.at(-1)).not.toMatchObject({ type: 'succeeded' });
    await world.startWorker();
    const events = await onPod('killed-worker', () => jobOf('verify') && jobOf('quantize')?.events, 'verify begins');
    const result = await resultOf(world.client, started);
    report('killed-worker', result.stages);
    expect(ofType(events, 'started')).toEqual([expect.objectContaining({ attempt: 1 })]);
    const done = events.filter(({ phase }) => phase === 'quantize').map((event) => event['done']);
    expect(done).toEqual([...done].sort());
    expect(new Set(done).size).toBe(done.length);
    expect(result.outputs.quantize).toMatchObject({ format: 'pack-quantized', bits: 4 });
    expect(result.outputs.publish!.commit).toMatch(/^[0-9a-f]{40}$/);
  },
  RUN_MS,
);

/** Names of the tensors of a safetensors file: 8 bytes of length, then a JSON header. */
function tensorsOf(file: Buffer): string[] {
  const length = Number(file.readBigUInt64LE(0));
  return Object.keys(JSON.parse(file.subarray(8, 8 + length).toString()) as object);
}
