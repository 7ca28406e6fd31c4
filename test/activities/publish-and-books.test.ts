import { createHash } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import type { Books } from '../../contract/activities.ts';
import type { Json } from '../../contract/json.ts';
import type { Manifest, SmokeOutput } from '../../contract/stages.ts';
import { fromUsd, ZERO_USD } from '../../domain/money.ts';
import { HubError } from '../../services/hub/errors.ts';
import { JOB_RESULTS } from '../support/fake-activities.ts';
import { activityWorld, rejection, RUN, without } from '../support/fake-ports-activity.ts';
import { aPlan, aSpec } from '../support/specs.ts';

const file = (path: string, size = 10) => ({
  path,
  size,
  sha256: createHash('sha256').update(path).digest('hex'),
  gitBlobSha1: createHash('sha1').update(path).digest('hex'),
});

describe('preparing to publish', () => {
  const manifest: Manifest = {
    files: [file('model.safetensors'), file('README.md'), file('.gitattributes'), file('LICENSE')],
    digest: 'before',
  };
  const facts = { ablate: JOB_RESULTS.ablate, quantize: JOB_RESULTS.quantize } as unknown as Json;
  const input = { run: RUN, plan: aPlan(), verify: { ...JOB_RESULTS.verify, manifest }, facts };

  test('repository and branch exist, and the manifest holds the generated card in place of the old one', async () => {
    const { run, hub } = activityWorld();
    const prepared = await run('preparePublish', input);
    expect(prepared.branch).toBe('run-r20260101-000000');
    expect(hub.repos.get('anneal/tiny')).toEqual({ private: true });
    expect([...hub.branches]).toEqual(['run-r20260101-000000']);
    expect(prepared.manifest.files.map(({ path }) => path)).toEqual(['LICENSE', 'README.md', 'model.safetensors']);
    const bytes = Buffer.from(prepared.card);
    expect(prepared.manifest.files[1]).toEqual({
      path: 'README.md',
      size: bytes.length,
      sha256: createHash('sha256').update(bytes).digest('hex'),
      gitBlobSha1: createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex'),
    });
    expect(prepared.manifest.digest).not.toBe('before');
  });

  test('doing it twice gives the same card, branch and manifest', async () => {
    const { run } = activityWorld();
    expect(await run('preparePublish', input)).toEqual(await run('preparePublish', input));
  });

  test.each(['rehearsal', 'cpu'])('what was made on %s never goes to the public Hub', async (madeOn) => {
    const { run, hub } = activityWorld();
    hub.isPublicHub = true;
    const made = { ...input, verify: { ...input.verify, madeOn } };
    expect(await rejection(run('preparePublish', made))).toMatchObject({
      type: 'HubRefused',
      message: expect.stringContaining(`made on "${madeOn}", for tests`),
    });
    expect(hub.repos.size).toBe(0);
    await run('preparePublish', { ...made, verify: { ...made.verify, madeOn: 'cuda' } });
    expect(hub.repos.size).toBe(1);
  });

  test('a card that the Hub refuses stops it before anything is made', async () => {
    const { run, hub } = activityWorld();
    hub.cardFaults = ['"license" must be one of …'];
    expect(await rejection(run('preparePublish', input))).toMatchObject({
      type: 'HubRefused',
      nonRetryable: true,
      message: expect.stringContaining('"license" must be one of'),
    });
    expect(hub.repos.size).toBe(0);
  });

  test('a spec that publishes nothing has nothing to prepare', async () => {
    const spec = without(aSpec(), 'publish', 'serve');
    const error = await rejection(activityWorld().run('preparePublish', { ...input, plan: aPlan(spec) }));
    expect(error).toMatchObject({ type: 'InvalidSpec' });
  });
});

describe('verifying an upload', () => {
  const manifest: Manifest = { files: [file('model.safetensors', 90), file('config.json')], digest: 'd' };
  const upload = { repo: 'anneal/tiny', commit: 'c'.repeat(40), manifest };

  test('counts what arrived', async () => {
    const { run, hub } = activityWorld();
    hub.files = manifest.files;
    await expect(run('verifyUpload', upload)).resolves.toEqual({ files: 2, bytes: 100 });
  });

  test('every difference is listed, and no retry cures it', async () => {
    const { run, hub } = activityWorld();
    hub.files = [file('model.safetensors', 91), file('extra.txt')];
    expect(await rejection(run('verifyUpload', upload))).toMatchObject({
      type: 'ManifestMismatch',
      nonRetryable: true,
      details: [
        [
          'model.safetensors: 91 bytes, expected 90',
          'config.json: missing on the Hub',
          'extra.txt: on the Hub, but not in the manifest',
        ],
      ],
    });
  });

  test('a header that cannot be read is refused even where hashes agree', async () => {
    const { run, hub } = activityWorld();
    hub.files = manifest.files;
    hub.badHeader = new HubError('header does not parse', { kind: 'invalid', operation: 'readSafetensors' });
    expect(await rejection(run('verifyUpload', upload))).toMatchObject({ type: 'HubRefused' });
  });

  test('a release is tagged and its branch removed; twice is harmless, another commit is refused', async () => {
    const { run, hub } = activityWorld();
    hub.branches.add('run-r1');
    const tag = { repo: 'anneal/tiny', commit: 'c1', release: 'r1', branch: 'run-r1' };
    await expect(run('tagRelease', tag)).resolves.toEqual({ tag: 'r1' });
    await expect(run('tagRelease', tag)).resolves.toEqual({ tag: 'r1' });
    expect([hub.tags.get('r1'), hub.branches.size]).toEqual(['c1', 0]);
    expect(await rejection(run('tagRelease', { ...tag, commit: 'c2' }))).toMatchObject({ type: 'HubRefused' });
  });
});

describe('registering', () => {
  const smoke: SmokeOutput = {
    checks: [],
    sample: { prompt: 'p', answer: 'a' },
    firstTokenMs: 50,
    tokensPerSecond: 100,
    namesRelease: true,
  };
  const input = (plan = aPlan()) => ({
    run: RUN,
    plan,
    deploy: {
      endpointId: 'e1',
      templateId: 't1',
      endpointName: 'anneal-test-tiny',
      baseUrl: 'https://data.test/v2/e1/openai/v1',
      gpuPools: 'ADA_80_PRO',
    },
    publish: { repo: 'anneal/tiny', commit: 'c1' },
    smoke,
    spent: fromUsd(1.5),
    evaluation: { kl: 0.1 },
  });

  test('the row says what clients need, and names the secret without holding it', async () => {
    const { run, registry } = activityWorld();
    await expect(run('registerModel', input())).resolves.toMatchObject({ modelId: 'model-1', updated: false });
    const [row] = registry.models;
    expect(row?.model).toMatchObject({
      userId: 'owner-1',
      name: 'tiny',
      modelId: 'anneal/tiny',
      baseUrl: 'https://data.test/v2/e1/openai/v1',
      servedModelName: 'tiny',
      contextLength: 512,
      maxOutputTokens: 2_000,
      trainingMethod: 'heretic-ablation',
      baseModel: 'anneal/tiny-base',
      supportsStreaming: true,
    });
    expect(row?.deployment).toMatchObject({ runId: 'run-1', endpointId: 'e1', hubCommit: 'c1', state: 'live' });
    expect(JSON.stringify(row)).not.toContain('s3cret');
  });

  test('metadata has the keys that the founding documents read', async () => {
    const { run, registry } = activityWorld();
    await run('registerModel', input());
    expect(registry.models[0]?.model.metadata).toEqual({
      training_job_id: 'run-1',
      runpod_endpoint_id: 'e1',
      runpod_endpoint_url: 'https://data.test/v2/e1',
      deployment_type: 'serverless',
      deployed_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      cost_per_request: null,
      budget_limit: 12,
      release: 'r20260101-000000',
      hub_commit: 'c1',
      evaluation: { kl: 0.1 },
      inference: { temperature: 0.3, topP: 0.9, repetitionPenalty: 1.1, maxTokens: 2_000 },
      api_key_secret: 'RUNPOD_API_KEY',
      smoke: { first_token_ms: 50, tokens_per_second: 100 },
      build_cost_usd: 1.5,
    });
  });

  test.each([
    ['quantization-only', { quantize: 'awq' as const }],
    ['imported', { quantize: 'none' as const }],
  ])('without ablation the method is %s', async (method, quantize) => {
    const { run, registry } = activityWorld();
    const spec = without(aSpec(quantize), 'ablate');
    await run('registerModel', input(aPlan(spec)));
    expect(registry.models[0]?.model.trainingMethod).toBe(method);
  });

  test('the owner of the spec comes before that of the configuration', async () => {
    const { run, registry } = activityWorld();
    await run('registerModel', input(aPlan(aSpec({ owner: 'someone' }))));
    expect(registry.models[0]?.model.userId).toBe('someone');
  });

  test('a database that is away is tried again', async () => {
    const { run, registry } = activityWorld();
    registry.down = true;
    expect(await rejection(run('registerModel', input()))).toMatchObject({
      type: 'RegistryUnavailable',
      nonRetryable: false,
    });
  });
});

describe('keeping books', () => {
  const books = (changes: Partial<Books> = {}): Books => ({
    run: RUN,
    spec: { name: 'tiny' },
    cap: fromUsd(12),
    spent: fromUsd(1),
    overrun: ZERO_USD,
    meters: [
      { resource: 'pod', resourceId: 'p1', ratePerHour: fromUsd(3.6), fromMs: 0, toMs: null, amount: fromUsd(1) },
    ],
    stages: [
      {
        report: {
          stage: 'merge',
          state: 'completed',
          startedAtMs: 1_000,
          endedAtMs: 2_000,
          workedMs: 900,
          gpuTypeId: null,
          cost: ZERO_USD,
          note: '',
        },
        output: { shards: 2 },
      },
    ],
    end: null,
    ...changes,
  });

  test('the same books twice leave one row each', async () => {
    const { run, registry } = activityWorld();
    await run('keepBooks', books());
    await run('keepBooks', books());
    expect([registry.runs.size, registry.ledger.size, registry.stages.size, registry.outputs.size]).toEqual([
      1, 1, 1, 1,
    ]);
    expect(registry.ends.size).toBe(0);
  });

  test('later books close what was open', async () => {
    const { run, registry } = activityWorld();
    await run('keepBooks', books());
    const meter = { resource: 'pod' as const, resourceId: 'p1', ratePerHour: fromUsd(3.6), fromMs: 0 };
    await run(
      'keepBooks',
      books({
        meters: [{ ...meter, toMs: 3_600_000, amount: fromUsd(3.6) }],
        overrun: fromUsd(0.1),
        end: { state: 'FAILED', atMs: 5_000 },
      }),
    );
    expect(registry.ledger.get('run-1/pod/p1')).toMatchObject({
      from: '1970-01-01T00:00:00.000Z',
      to: '1970-01-01T01:00:00.000Z',
      amountMicroUsd: fromUsd(3.6),
      overrun: true,
    });
    expect(registry.ends.get('run-1')).toEqual({
      state: 'FAILED',
      spentMicroUsd: fromUsd(1),
      endedAt: '1970-01-01T00:00:05.000Z',
    });
  });

  test('a stage without an output is on record without one, whatever it made before', async () => {
    const { run, registry } = activityWorld();
    const report = {
      stage: 'merge',
      state: 'failed',
      startedAtMs: 1,
      endedAtMs: 2,
      workedMs: 1,
      gpuTypeId: null,
      cost: ZERO_USD,
      note: '',
    } as const;
    await run('keepBooks', books({ stages: [{ report, output: null }] }));
    expect([...registry.stages.values()]).toMatchObject([{ stage: 'merge', state: 'failed', detail: null }]);
    expect([...registry.outputs.values()]).toEqual([null]);
  });
});
