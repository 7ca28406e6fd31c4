import { describe, expect, test } from '@jest/globals';
import type { PipelineSpec } from '../../contract/spec.ts';
import type { PipelineSpecInput } from '../../contract/spec.ts';
import { fromUsd } from '../../domain/money.ts';
import type { Json } from '../../contract/json.ts';
import type { Stage } from '../../contract/stage-names.ts';
import { servingRate } from '../../domain/serving-bound.ts';
import type { RecordedStageRow } from '../../services/registry/port.ts';
import { HubError } from '../../services/hub/errors.ts';
import { activityWorld, rejection, type ActivityWorld, without } from '../support/fake-ports-activity.ts';
import { aModel, anOffer } from '../support/fake-ports.ts';
import { aPlan, aSpec } from '../support/specs.ts';

const plan = (world: ActivityWorld, spec: unknown = aSpec(), workflowId = 'pipeline/tiny') =>
  world.run('planRun', { spec, workflowId, runId: 'run-1', startedAtMs: Date.UTC(2026, 0, 1) });
const specWith = (changes: Partial<PipelineSpecInput>): PipelineSpec => aSpec(changes);

/** The reasons of a refusal, one by one. */
async function reasons(world: ActivityWorld, spec: unknown = aSpec()): Promise<string[]> {
  const error = (await rejection(plan(world, spec))) as { type: string; nonRetryable: boolean; details?: unknown[] };
  expect(error).toMatchObject({ type: 'PlanRefused', nonRetryable: true });
  return (error.details?.[0] ?? []) as string[];
}

describe('a plan', () => {
  test('pins the base, sizes and prices what will be rented, and rents nothing', async () => {
    const world = activityWorld();
    const made = await plan(world);
    expect(made).toMatchObject({
      installation: 'test',
      release: 'r20260101-000000',
      base: { commit: 'b'.repeat(40), license: 'apache-2.0', architecture: 'Qwen3ForCausalLM', contextLength: 512 },
      pods: [{ ladder: [{ gpuTypeId: 'NVIDIA H100 80GB HBM3', pricePerHour: fromUsd(3.6) }] }],
      serving: { gpuPools: 'ADA_80_PRO', maxModelLen: 512, servedModelName: 'tiny', image: 'worker-image' },
      podImage: 'pod-image',
      settings: { quietPeriodMs: 90_000 },
    });
    expect(world.pods.creates).toEqual([]);
    expect(world.endpoints.calls).toEqual([]);
    expect(world.hub.repos.size).toBe(0);
  });

  test('the mark on rented things is the same for the same spec and release only', async () => {
    const hash = async (spec: PipelineSpec) => (await plan(activityWorld(), spec)).specHash;
    expect(await hash(aSpec())).toBe(await hash(aSpec()));
    expect(await hash(aSpec())).not.toBe(await hash(specWith({ ablate: { trials: 9 } })));
  });

  test('a start that skipped the client is parsed like any other: every fault at once', async () => {
    const error = await rejection(plan(activityWorld(), { name: 'tiny', base: { repo: 'x' }, extra: 1 }));
    expect(error).toMatchObject({ type: 'InvalidSpec', nonRetryable: true });
    expect(String(error)).toMatch(/base\.repo.*budget.*extra/);
  });

  test('what is not built is refused, whoever started it', async () => {
    const error = await rejection(plan(activityWorld(), specWith({ notify: ['hook'] })));
    expect(error).toMatchObject({ type: 'InvalidSpec', message: expect.stringContaining('notify') });
  });

  test.each(['pipeline/other', 'tiny', 'pipeline/Tiny'])(
    'the workflow id %s does not belong to this name',
    async (workflowId) => {
      expect(await rejection(plan(activityWorld(), aSpec(), workflowId))).toMatchObject({
        type: 'InvalidSpec',
        message: expect.stringContaining('pipeline/tiny'),
      });
    },
  );
});

describe('a plan refuses', () => {
  test('with all reasons at once', async () => {
    const world = activityWorld();
    world.hub.base = aModel({ license: 'other' });
    world.hub.files = [];
    world.hub.identity = { name: 'robot', namespaces: ['robot'], role: 'read' };
    world.pods.funds = {
      balance: fromUsd(1),
      spendPerHour: fromUsd(0),
      spendLimitPerHour: fromUsd(2),
      workerQuota: null,
    };
    const spec = specWith({
      budget: { capUsd: 0.1 },
      serve: { gpus: ['ADA_80_PRO'], maxModelLen: 9_999, warmupDeadline: '5m' },
    });
    const found = await reasons(world, spec);
    for (const part of [
      'licence "other"',
      'no safetensors weights',
      'namespace "anneal"',
      'read-only',
      'exceeds the model',
      'leaves nothing to work with',
      'does not cover one hour',
      'hourly limit',
    ]) {
      expect(found).toContainEqual(expect.stringContaining(part));
    }
    expect(found).toHaveLength(8);
  });

  test('a rehearsal for the public Hub, and accepts one that publishes nothing', async () => {
    const world = activityWorld();
    world.hub.isPublicHub = true;
    expect(await rejection(plan(world))).toMatchObject({
      type: 'PlanRefused',
      message: expect.stringContaining('never published to the public Hub'),
    });
    const unpublished = without(aSpec(), 'publish', 'serve');
    await expect(plan(world, unpublished)).resolves.toMatchObject({ serving: null });
  });

  test('a base that does not exist, with where it looked', async () => {
    const world = activityWorld();
    world.hub.base = null;
    expect(await rejection(plan(world))).toMatchObject({
      type: 'PlanRefused',
      message: expect.stringMatching(/anneal\/tiny-base@main.*hub\.test/),
    });
  });

  test('a gated base, together with the other reasons, though its files cannot be read', async () => {
    const world = activityWorld();
    world.hub.gate = new HubError('accept its terms first', { kind: 'gated', operation: 'checkAccess' });
    world.hub.identity = { ...world.hub.identity, role: 'read' };
    const found = await reasons(world);
    expect(found).toContainEqual('anneal/tiny-base: accept its terms first');
    expect(found).toContainEqual(expect.stringContaining('read-only'));
  });

  test('a base without a licence only where it would be published', async () => {
    const world = activityWorld();
    world.hub.base = aModel({ license: null });
    expect(await reasons(world)).toEqual([expect.stringContaining('states no licence')]);
    const unpublished = without(aSpec(), 'publish', 'serve');
    await expect(plan(world, unpublished)).resolves.toMatchObject({ base: { license: 'unknown' } });
  });

  test.each([
    ['no config', null, 'config.json is missing'],
    ['a config that is not JSON', '{', 'config.json cannot be read'],
    ['a config without architecture', '{"architectures":[]}', 'config.json cannot be read at architectures'],
    [
      'a context that is text',
      '{"architectures":["XForCausalLM"],"max_position_embeddings":"long"}',
      'at max_position_embeddings',
    ],
    [
      'code of its own',
      '{"architectures":["XForCausalLM"],"auto_map":{},"max_position_embeddings":512}',
      'needs code of its own',
    ],
    ['another kind of model', '{"architectures":["BertModel"],"max_position_embeddings":512}', 'BertModel is not'],
  ])('a base with %s', async (_what, config, reason) => {
    const world = activityWorld();
    if (config === null) world.hub.texts.clear();
    else world.hub.texts.set('config.json', config);
    expect(await reasons(world)).toContainEqual(expect.stringContaining(reason));
  });

  test('an unknown GPU, by name', async () => {
    const spec = specWith({ compute: { gpus: ['RTX 9999'] } });
    expect(await reasons(activityWorld(), spec)).toEqual([expect.stringContaining('RTX 9999: not a GPU type')]);
  });

  test('an unknown serverless pool', async () => {
    const spec = specWith({ serve: { gpus: ['MOON_80'], warmupDeadline: '5m' } });
    expect(await reasons(activityWorld(), spec)).toEqual([expect.stringContaining('MOON_80')]);
  });

  test('a cap that its own reserve eats up, with both figures', async () => {
    expect(await reasons(activityWorld(), specWith({ budget: { capUsd: 0.5 } }))).toEqual([
      expect.stringMatching(/budget\.capUsd: \$0\.5000 .*\$0\.7802/),
    ]);
  });

  test('a balance that does not cover an hour', async () => {
    const world = activityWorld();
    world.pods.funds = { ...world.pods.funds, balance: fromUsd(3) };
    expect(await reasons(world)).toEqual([expect.stringContaining('balance of $3.0000')]);
  });

  test('what the account may not spend per hour, counting what already runs', async () => {
    const world = activityWorld();
    world.pods.funds = {
      balance: fromUsd(100),
      spendPerHour: fromUsd(2),
      spendLimitPerHour: fromUsd(5),
      workerQuota: null,
    };
    expect(await reasons(world)).toEqual([expect.stringContaining('hourly limit of $5.0000')]);
  });
});

describe('a plan warns', () => {
  test('of GPUs that fall off the ladder while others stay', async () => {
    const world = activityWorld();
    const { warnings, pods } = await plan(
      world,
      specWith({ compute: { gpus: ['RTX 9999', 'NVIDIA H100 80GB HBM3'] } }),
    );
    expect(pods).toMatchObject([{ ladder: [{}] }]);
    expect(warnings).toEqual([expect.stringContaining('RTX 9999')]);
  });

  test('that nothing is in stock now', async () => {
    const world = activityWorld();
    world.pods.offers = [anOffer({ stock: 'None' })];
    expect((await plan(world)).warnings).toEqual([expect.stringContaining('wait up to 2h')]);
  });

  test('of a balance below the cap', async () => {
    const world = activityWorld();
    world.pods.funds = { ...world.pods.funds, balance: fromUsd(5) };
    expect((await plan(world)).warnings).toEqual([expect.stringContaining('below the cap of $12.00')]);
  });
});

describe('what a plan reads of a model', () => {
  const CONFIG = {
    architectures: ['Qwen3ForCausalLM'],
    max_position_embeddings: 40_960,
    num_hidden_layers: 40,
    hidden_size: 5_120,
    intermediate_size: 17_408,
    num_attention_heads: 40,
    num_key_value_heads: 8,
    head_dim: 128,
    vocab_size: 151_936,
    tie_word_embeddings: false,
    torch_dtype: 'bfloat16',
  };
  const worldOf = (config: object, bytes = 29.54e9): ActivityWorld => {
    const world = activityWorld();
    world.hub.texts.set('config.json', JSON.stringify(config));
    world.hub.files = [{ path: 'model.safetensors', size: bytes, sha256: 'e'.repeat(64), gitBlobSha1: 'f'.repeat(40) }];
    return world;
  };

  test('second copies of its weights are not counted, for they are not downloaded', async () => {
    const world = worldOf(CONFIG);
    const [shard] = world.hub.files as [(typeof world.hub.files)[number]];
    const copies = ['consolidated.safetensors', 'fp16/model.safetensors'].map((path) => ({ ...shard, path }));
    world.hub.files = [shard, ...copies];
    expect((await plan(world, aSpec())).base.totalBytes).toBe(29.54e9);
  });

  test('its shape sizes the pod and the server', async () => {
    const { base, pods, serving } = await plan(worldOf(CONFIG), aSpec());
    expect(base.shape).toEqual({
      layers: 40,
      hiddenSize: 5_120,
      kvHeads: 8,
      headDim: 128,
      vocabSize: 151_936,
      tiedEmbeddings: false,
      bytesPerParameter: 2,
    });
    expect(pods).toMatchObject([{ needs: { vramGb: 37, hostMemoryGb: 35, volumeGb: 90 } }]);
    expect(serving).toMatchObject({ maxModelLen: 32_768, vramGb: 20 });
  });

  test('what is null or 0 in a config is absent', async () => {
    const { base } = await plan(worldOf({ ...CONFIG, head_dim: null, num_experts: 0, text_config: null }), aSpec());
    expect(base.shape).toMatchObject({ headDim: 128, layers: 40 });
  });

  test('a pool too small for the context asked for is refused with both figures', async () => {
    const spec = specWith({
      serve: { gpus: ['ADA_80_PRO'], gpuMemoryUtilization: 0.2, maxModelLen: 32_768, warmupDeadline: '5m' },
    });
    expect(await reasons(worldOf(CONFIG), spec)).toEqual([
      expect.stringMatching(/serve\.gpus: 20 GB of GPU memory are needed to serve.*ADA_80_PRO has 16 GB/),
    ]);
  });

  test.each([
    ['quantized already', { ...CONFIG, quantization_config: { quant_method: 'awq' } }, 'quantized already (awq)'],
    ['a mixture of experts', { ...CONFIG, num_experts: 128 }, 'mixture of 128 experts'],
    ['in need of its own code', { ...CONFIG, auto_map: {} }, 'auto_map'],
  ])('a base that is %s is refused before anything is rented', async (_what, config, part) => {
    expect(await reasons(worldOf(config))).toEqual([expect.stringContaining(part)]);
  });
});

describe('data sets', () => {
  const gpu = specWith({ toolchain: 'gpu', ablate: { prompts: { bad: { dataset: 'own/set', split: 'train[:8]' } } } });
  const worldWith = (...names: string[]): ActivityWorld => {
    const world = activityWorld();
    names.forEach((name, at) => world.hub.dataSets.set(name, String(at).repeat(40)));
    return world;
  };

  test('are named and pinned, the default ones too, so that another pod measures on the same prompts', async () => {
    const world = worldWith('mlabonne/harmless_alpaca', 'mlabonne/harmful_behaviors', 'own/set');
    const { spec } = await plan(world, gpu);
    expect(spec.ablate?.prompts).toEqual({
      good: { dataset: 'mlabonne/harmless_alpaca', revision: '0'.repeat(40), split: 'train[:400]', column: 'text' },
      bad: { dataset: 'own/set', revision: '2'.repeat(40), split: 'train[:8]', column: null },
      goodEval: { dataset: 'mlabonne/harmless_alpaca', revision: '0'.repeat(40), split: 'test[:100]', column: 'text' },
      badEval: { dataset: 'mlabonne/harmful_behaviors', revision: '1'.repeat(40), split: 'test[:100]', column: 'text' },
    });
    expect((await plan(world, spec)).spec).toEqual(spec);
  });

  test('that nobody can see refuse the plan, each by its place', async () => {
    expect(await reasons(worldWith('mlabonne/harmless_alpaca'), gpu)).toEqual([
      expect.stringContaining('ablate.prompts.bad: data set own/set@main does not exist'),
      expect.stringContaining('ablate.prompts.badEval: data set mlabonne/harmful_behaviors@main'),
    ]);
  });

  test('are no matter of a rehearsal', async () => {
    expect((await plan(activityWorld())).spec.ablate?.prompts.good).toBeNull();
  });
});

describe('a plan counts', () => {
  test('what earlier runs of the same shape took, not what others did', async () => {
    const world = activityWorld();
    const asRecorded = (spec: PipelineSpec): Json => JSON.parse(JSON.stringify(spec)) as Json;
    const row: RecordedStageRow = {
      stage: 'ablate',
      durationMs: 60_000,
      spec: asRecorded(aSpec()),
      gpuTypeId: 'NVIDIA H100 80GB HBM3',
    };
    world.registry.recorded = [
      row,
      { ...row, durationMs: 80_000 },
      { ...row, durationMs: 1, gpuTypeId: 'NVIDIA L4' },
      { ...row, durationMs: 1, spec: asRecorded(specWith({ ablate: { trials: 1 } })) },
      { ...row, durationMs: 1, spec: { written: 'by another version' } },
    ];
    const { estimate } = await plan(world);
    expect(estimate.find(({ stage }) => stage === 'ablate')).toMatchObject({
      recordedRuns: 2,
      lowMs: 54_000,
      highMs: 100_000,
    });
    expect(estimate.find(({ stage }) => stage === 'merge')).toMatchObject({ recordedRuns: 0 });
  });

  test('only stages that are still to be done', async () => {
    const world = activityWorld();
    const input = { spec: aSpec(), workflowId: 'pipeline/tiny', runId: 'run-1', startedAtMs: 0 };
    const resumed = await world.run('planRun', { ...input, notDone: ['ablate', 'register'] });
    expect(resumed.estimate.map(({ stage }) => stage)).not.toContain('ablate');
    world.pods.offers = [];
    const served = await world.run('planRun', { ...input, notDone: ['provision'] });
    expect(served).toMatchObject({ pods: [], estimate: [] });
  });

  test('of two pods only those that are rented', async () => {
    const world = activityWorld();
    const gpus = ['NVIDIA H100 80GB HBM3'];
    const spec = specWith({ compute: { gpus, quantize: { gpus, gpuCount: 1 } } });
    const provision = async (...notDone: Stage[]) => {
      const input = { spec, workflowId: 'pipeline/tiny', runId: 'run-1', startedAtMs: 0, notDone };
      const { pods, estimate } = await world.run('planRun', input);
      expect(pods).toHaveLength(2);
      return estimate.find(({ stage }) => stage === 'provision')!.highMs;
    };
    const both = await provision();
    expect(await provision('ablate')).toBe(both / 2);
    expect(await provision('merge', 'quantize', 'verify', 'publish')).toBe(both / 2);
  });

  test('a cap that leaves less than the pods may cost is said', async () => {
    const world = activityWorld();
    const spec = specWith({ budget: { capUsd: 0.79, grace: '1h' } });
    expect((await plan(world, spec)).warnings).toEqual([
      expect.stringMatching(/\$0\.7900 leave \$0\.0098 to the pods.*waits 1h/),
    ]);
    expect((await plan(world)).warnings).toEqual([]);
  });

  test.each([
    [0, 2],
    [1, 2],
    [3, 4],
  ])('with %i workers kept, %i may run while a release is proven', async (min, workers) => {
    const workersOf = { min, max: 3 };
    const { serving } = await plan(activityWorld(), specWith({ serve: { gpus: ['ADA_80_PRO'], workers: workersOf } }));
    expect(servingRate({ ...aPlan(), serving })).toBe(workers * fromUsd(3.6));
  });

  test('workers against the quota: a quota the account tells refuses, one from the table warns', async () => {
    const world = activityWorld();
    world.endpoints.addEndpoint({ name: 'somebody-elses', workersMax: 8 });
    world.endpoints.addEndpoint({ name: 'anneal-test-tiny', workersMax: 3 });
    const { warnings } = await plan(world);
    expect(warnings).toEqual([
      expect.stringMatching(/4 workers are needed.*configured for 8.*may have 10 by RunPod's table/),
    ]);
    world.pods.funds = { ...world.pods.funds, workerQuota: 11 };
    expect(await reasons(world)).toEqual([expect.stringContaining('the account may have 11')]);
    world.pods.funds = { ...world.pods.funds, workerQuota: 12 };
    expect((await plan(world)).warnings).toEqual([]);
  });

  test('a balance that nobody can read is said, not refused', async () => {
    const world = activityWorld();
    world.pods.funds = { balance: null, spendPerHour: null, spendLimitPerHour: null, workerQuota: null };
    expect((await plan(world)).warnings).toEqual([expect.stringContaining('were not checked')]);
  });

  test('what the API cannot ask for: no public address on the community cloud, host memory after boot', async () => {
    const world = activityWorld();
    world.pods.capabilities = { api: 'v2', minHostMemory: false, communityPublicIp: false, account: true };
    world.pods.offers = [anOffer(), anOffer({ cloud: 'COMMUNITY' })];
    expect((await plan(world)).warnings).toEqual([expect.stringContaining('host memory is checked once')]);
    const spec = specWith({ compute: { cloud: ['COMMUNITY'] } });
    expect(await reasons(world, spec)).toEqual([expect.stringContaining('RUNPOD_API=v2 cannot ask for one')]);
  });

  test('a registry that is away costs the experience, not the plan', async () => {
    const world = activityWorld();
    world.registry.down = true;
    expect((await plan(world)).warnings).toEqual([expect.stringContaining('the estimate is by formula')]);
  });
});
