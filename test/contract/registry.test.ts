import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import postgres from 'postgres';
import { fromUsd, type MicroUsd } from '../../domain/money.ts';
import { freePorts } from '../../local/ports.ts';
import { startPostgres, type RunningPostgres } from '../../local/postgres.ts';
import { endProcess } from '../../local/processes.ts';
import type { DeploymentRow, Holding, ModelRow, RegistryPort } from '../../services/registry/port.ts';
import { createRegistry } from '../../services/registry/postgres.ts';

const RUN = 'run-1';
const AT = '2026-01-02T03:04:05.000Z';
const LATER = '2026-01-02T04:00:00.000Z';

const model = (overrides: Partial<ModelRow> = {}): ModelRow => ({
  userId: null,
  name: 'tiny',
  modelId: 'anneal/tiny',
  baseUrl: 'https://api.runpod.ai/v2/ep1/openai/v1',
  servedModelName: 'tiny',
  isGlobal: false,
  enabled: true,
  supportsStreaming: true,
  supportsFunctions: false,
  supportsVision: false,
  contextLength: 4096,
  maxOutputTokens: null,
  trainingMethod: 'heretic-ablation',
  baseModel: 'anneal/tiny-base',
  trainingDataset: null,
  trainingDate: AT,
  metadata: { inference: { temperature: 0.3 }, secret: 'RUNPOD_API_KEY' },
  ...overrides,
});

const deployment: DeploymentRow = {
  runId: RUN,
  endpointId: 'ep1',
  templateId: 'tpl1',
  hubRepo: 'anneal/tiny',
  hubCommit: 'abc',
  gpu: 'ADA_80_PRO',
  state: 'ready',
  costSoFarMicroUsd: fromUsd(12.345678),
};

const holding = (name: string): Holding => ({
  name,
  kind: 'pod',
  runId: RUN,
  workflowId: 'pipeline/tiny',
  specHash: 'h',
  hardDeadline: LATER,
  ratePerHourMicroUsd: fromUsd(3.6),
  promisedMicroUsd: fromUsd(12),
});

describe('the registry on PostgreSQL', () => {
  let server: RunningPostgres;
  let stateDir: string;
  let admin: postgres.Sql;
  let sql: postgres.Sql;
  let registry: RegistryPort;
  let url: string;
  let databases = 0;

  beforeAll(async () => {
    stateDir = await mkdtemp(join(tmpdir(), 'anneal-registry-'));
    // Made 0700, but as root the server runs as another user.
    await chmod(stateDir, 0o711);
    const [port] = await freePorts(1);
    server = await startPostgres({ stateDir, port: port ?? 0, env: process.env });
    admin = postgres(server.url, { max: 1, onnotice: () => undefined });
  });

  afterAll(async () => {
    await admin.end();
    await endProcess(server.identity, { graceMs: 10_000 });
    await rm(stateDir, { recursive: true, force: true });
  });

  beforeEach(async () => {
    databases += 1;
    await admin.unsafe(`create database test_${String(databases)}`);
    url = server.url.replace(/anneal$/, `test_${String(databases)}`);
    sql = postgres(url, { max: 1, onnotice: () => undefined });
    registry = createRegistry({ url, max: 8 });
  });

  afterEach(async () => {
    await Promise.all([registry.close(), sql.end()]);
  });

  test('migrations apply once, also when several processes start together', async () => {
    const others = Array.from({ length: 4 }, () => createRegistry({ url, max: 1 }));
    const results = await Promise.all(others.map((other) => other.migrate()));
    const applied = results.filter((result) => result.applied.length > 0);
    expect(applied).toHaveLength(1);
    expect(applied[0]?.applied).toEqual([
      '001-runs.sql',
      '002-holdings.sql',
      '003-artifacts.sql',
      '004-sightings.sql',
      '005-installation.sql',
      '006-job-log-pods.sql',
      '007-admission.sql',
      'public.llm_models',
      'public.inference_deployments',
    ]);
    expect(await registry.migrate()).toEqual({ applied: [] });
    await Promise.all([...others.map((other) => other.close())]);
  });

  test('an applied migration whose file changed is refused', async () => {
    await registry.migrate();
    await sql`update anneal.schema_migrations set checksum = 'other' where name = '001-runs.sql'`;
    await expect(registry.migrate()).rejects.toMatchObject({ name: 'RegistryError', kind: 'refused' });
  });

  test('runs, stages, outputs and the ledger are idempotent and keep exact money', async () => {
    await registry.migrate();
    const cap = 9_007_199_254_740_991 as MicroUsd;
    const run = { runId: RUN, workflowId: 'w', name: 'tiny', release: 'r', spec: { a: [1, 'x\0y'] }, capMicroUsd: cap };
    await registry.finishRun(RUN, { state: 'completed', spentMicroUsd: fromUsd(1.000001), endedAt: LATER });
    await registry.saveRun(run);
    await registry.saveRun(run);
    const runs = await sql`select state, cap_micro_usd, spent_micro_usd, spec from anneal.runs`;
    expect(runs).toEqual([
      { state: 'completed', cap_micro_usd: String(cap), spent_micro_usd: '1000001', spec: { a: [1, 'x\uFFFDy'] } },
    ]);

    const event = {
      runId: RUN,
      stage: 'plan',
      state: 'failed',
      startedAt: AT,
      endedAt: LATER,
      workedMs: 3_355_000,
      gpuTypeId: null,
      detail: null,
    } as const;
    await registry.recordStage({ ...event, costMicroUsd: fromUsd(1) });
    await registry.recordStage({ ...event, state: 'completed', costMicroUsd: fromUsd(2), detail: 'text' });
    expect(await sql`select state, cost_micro_usd, detail from anneal.stage_events`).toEqual([
      { state: 'completed', cost_micro_usd: '2000000', detail: 'text' },
    ]);

    await registry.saveOutput(RUN, 'plan', { v: 1 });
    await registry.saveOutput(RUN, 'plan', { v: 2 });
    expect(await sql`select output from anneal.outputs`).toEqual([{ output: { v: 2 } }]);

    const entry = {
      entryId: 'run-1/pod-1',
      runId: RUN,
      resource: 'pod',
      resourceId: 'pod-1',
      ratePerHourMicroUsd: fromUsd(3.99),
      from: AT,
      overrun: false,
    };
    await registry.saveLedger({ ...entry, to: null, amountMicroUsd: fromUsd(1) });
    await registry.saveLedger({ ...entry, to: LATER, amountMicroUsd: fromUsd(3) });
    await registry.saveLedger({ ...entry, to: null, amountMicroUsd: fromUsd(2) });
    expect(await sql`select amount_micro_usd, ended_at from anneal.ledger`).toEqual([
      { amount_micro_usd: '3000000', ended_at: new Date(LATER) },
    ]);
  });

  test('holdings open, confirm, release and open anew', async () => {
    await registry.migrate();
    await registry.expectHolding(holding('a'));
    await registry.confirmHolding('a', 'pod-1');
    await registry.expectHolding(holding('a'));
    await registry.expectHolding(holding('b'));
    expect(await registry.openHoldings()).toEqual([
      { ...holding('a'), providerId: 'pod-1' },
      { ...holding('b'), providerId: null },
    ]);
    await registry.releaseHolding('a', AT);
    await registry.releaseHolding('a', LATER);
    await registry.releaseHolding('unknown', LATER);
    expect((await registry.openHoldings()).map(({ name }) => name)).toEqual(['b']);
    expect(await sql`select gone_at from anneal.holdings where name = 'a'`).toEqual([{ gone_at: new Date(AT) }]);
    await registry.expectHolding(holding('a'));
    expect(await registry.openHoldings()).toContainEqual({ ...holding('a'), providerId: null });
    await expect(registry.confirmHolding('nobody', 'x')).rejects.toMatchObject({ kind: 'refused' });

    expect(await registry.pinnedHostKey('a')).toBeNull();
    await registry.pinHostKey('a', { algorithm: 'ssh-ed25519', blob: 'AAAA' });
    await registry.pinHostKey('a', { algorithm: 'ssh-ed25519', blob: 'BBBB' });
    expect(await registry.pinnedHostKey('a')).toBe('BBBB');
  });

  test('a deadline moves while its holding is open, and opens none that was released', async () => {
    await registry.migrate();
    await registry.expectHolding(holding('a'));
    await registry.confirmHolding('a', 'pod-1');
    const moved = '2026-01-03T00:00:00.000Z';
    expect(await registry.moveHoldingDeadline('a', moved)).toBe(true);
    expect(await registry.openHoldings()).toEqual([{ ...holding('a'), hardDeadline: moved, providerId: 'pod-1' }]);
    await registry.releaseHolding('a', AT);
    expect(await registry.moveHoldingDeadline('a', LATER)).toBe(false);
    expect(await registry.moveHoldingDeadline('unknown', LATER)).toBe(false);
    expect(await registry.holdingsAmong(['a', 'unknown'])).toMatchObject([{ hardDeadline: moved, goneAt: AT }]);
  });

  test('holdings are found by name after they were released', async () => {
    await registry.migrate();
    for (const name of ['a', 'b', 'c']) await registry.expectHolding(holding(name));
    await registry.releaseHolding('a', AT);
    await registry.releaseHolding('b', AT);
    expect((await registry.holdingsAmong([])).map(({ name }) => name)).toEqual(['c']);
    expect(await registry.holdingsAmong(['a', 'unknown'])).toEqual([
      { ...holding('a'), providerId: null, goneAt: AT },
      { ...holding('c'), providerId: null, goneAt: null },
    ]);
  });

  describe('what other runs have promised', () => {
    const nothing = { ratePerHourMicroUsd: 0, untilCapsMicroUsd: 0 };
    const soon = (): string => new Date(Date.now() + 3_600_000).toISOString();
    const of = (name: string, runId: string): Holding => ({ ...holding(name), runId, hardDeadline: soon() });
    const books = (runId: string, capUsd: number) =>
      registry.saveRun({ runId, workflowId: 'w', name: 'a', release: 'r1', spec: {}, capMicroUsd: fromUsd(capUsd) });

    test('of two that ask at once the later one sees the earlier, however often either asks again', async () => {
      await registry.migrate();
      const all = { ratePerHourMicroUsd: fromUsd(3.6), untilCapsMicroUsd: fromUsd(12) };
      await registry.expectHolding(of('first', 'run-a'));
      await registry.expectHolding(of('second', 'run-b'));
      await registry.expectHolding(of('first-a2', 'run-a'));
      await registry.expectHolding(of('second-a2', 'run-b'));
      expect(await registry.promisedBefore('first')).toEqual(nothing);
      expect(await registry.promisedBefore('first-a2')).toEqual(nothing);
      expect(await registry.promisedBefore('second')).toEqual(all);
      expect(await registry.promisedBefore('second-a2')).toEqual(all);
      expect(await registry.promisedBefore('unknown')).toEqual(nothing);
    });

    test('what the provider knows is not counted again; what a running pod has cost by now is spent', async () => {
      await registry.migrate();
      await registry.expectHolding(of('first', 'run-a'));
      await registry.expectHolding(of('second', 'run-b'));
      await registry.confirmHolding('first', 'pod-1');
      await books('run-a', 50);
      const tenHoursAgo = new Date(Date.now() - 36_000_000).toISOString();
      const interval = {
        resource: 'pod',
        resourceId: 'p',
        ratePerHourMicroUsd: fromUsd(4),
        overrun: false,
        runId: 'run-a',
      };
      await registry.saveLedger({ ...interval, entryId: 'a/0', from: AT, to: LATER, amountMicroUsd: fromUsd(3) });
      await registry.saveLedger({
        ...interval,
        entryId: 'a/1',
        from: tenHoursAgo,
        to: null,
        amountMicroUsd: fromUsd(0),
      });
      const { ratePerHourMicroUsd, untilCapsMicroUsd } = await registry.promisedBefore('second');
      expect(ratePerHourMicroUsd).toBe(0);
      expect(Math.abs(untilCapsMicroUsd - fromUsd(7))).toBeLessThan(fromUsd(0.01));
    });

    test('a run keeps its place between two pods', async () => {
      await registry.migrate();
      await registry.expectHolding(of('first', 'run-a'));
      await books('run-a', 10);
      await registry.expectHolding(of('second', 'run-b'));
      await registry.releaseHolding('first', AT);
      expect(await registry.promisedBefore('second')).toEqual({ ...nothing, untilCapsMicroUsd: fromUsd(10) });
      await registry.expectHolding(of('first-a2', 'run-a'));
      expect(await registry.promisedBefore('first-a2')).toEqual(nothing);
    });

    test('a run that has ended promises nothing, nor does one whose last deadline is over', async () => {
      await registry.migrate();
      await registry.expectHolding(of('ended', 'run-a'));
      await registry.expectHolding({ ...of('terminated', 'run-t'), hardDeadline: AT });
      await registry.expectHolding(of('mine', 'run-b'));
      await books('run-a', 10);
      await books('run-t', 10);
      await registry.finishRun('run-a', { state: 'Failed', spentMicroUsd: fromUsd(4), endedAt: LATER });
      expect(await registry.promisedBefore('mine')).toEqual(nothing);
    });
  });

  test('stages of completed runs on a base are on record with their time and GPU', async () => {
    await registry.migrate();
    const spec = { base: { repo: 'anneal/tiny-base' } };
    for (const [runId, state] of [
      ['done', 'Completed'],
      ['failed', 'Failed'],
    ] as const) {
      await registry.saveRun({ runId, workflowId: 'w', name: 'a', release: 'r1', spec, capMicroUsd: fromUsd(1) });
      const stage = {
        runId,
        stage: 'ablate',
        state: 'completed',
        costMicroUsd: fromUsd(1),
        detail: null,
        gpuTypeId: 'NVIDIA L4',
      } as const;
      const startedAt = '2026-01-01T01:00:00Z';
      await registry.recordStage({ ...stage, startedAt, endedAt: '2026-01-01T01:05:00Z', workedMs: 290_000 });
      await registry.recordStage({ ...stage, startedAt, endedAt: '2026-01-01T01:09:00Z', workedMs: 300_500 });
      await registry.recordStage({
        ...stage,
        stage: 'merge',
        state: 'failed',
        startedAt: '2026-01-01T02:00:00Z',
        endedAt: '2026-01-01T02:05:00Z',
        workedMs: 1,
      });
      await registry.finishRun(runId, { state, spentMicroUsd: fromUsd(1), endedAt: LATER });
    }
    expect(await registry.recordedStages('anneal/tiny-base', 10)).toEqual([
      { stage: 'ablate', durationMs: 300_500, spec, gpuTypeId: 'NVIDIA L4' },
    ]);
    expect(await registry.recordedStages('anneal/other', 10)).toEqual([]);
  });

  test('sightings keep their first moment, count each sweep once and end with being held', async () => {
    await registry.migrate();
    const pod = { resource: 'pod', id: 'p', name: 'a' } as const;
    const endpoint = { resource: 'endpoint', id: 'p', name: 'a' } as const;
    expect(await registry.sightings()).toEqual([]);
    await registry.recordSightings({ seen: [pod, endpoint], forgotten: [], at: AT });
    await registry.recordSightings({ seen: [pod], forgotten: [], at: AT });
    expect(await registry.sightings()).toContainEqual({ resource: 'pod', id: 'p', firstSeenAt: AT, count: 1 });
    await Promise.all([LATER, LATER].map((at) => registry.recordSightings({ seen: [pod], forgotten: [endpoint], at })));
    expect(await registry.sightings()).toEqual([{ resource: 'pod', id: 'p', firstSeenAt: AT, count: 2 }]);
    await registry.recordSightings({ seen: [], forgotten: [], at: '2026-03-02T00:00:00.000Z' });
    expect(await registry.sightings()).toEqual([]);
  });

  test('an installation is bound once, to one namespace, whoever comes first', async () => {
    await registry.migrate();
    expect(await registry.boundNamespace('prod')).toBeNull();
    const answers = await Promise.all(['id-1', 'id-2', 'id-3'].map((id) => registry.bindNamespace('prod', id)));
    expect(new Set(answers.map(({ bound }) => bound)).size).toBe(1);
    expect(await registry.boundNamespace('prod')).toBe(answers[0]?.bound);
    expect(await registry.bindNamespace('test', 'id-4')).toEqual({ bound: 'id-4' });
  });

  test('checkpoints of more than a megabyte come back whole, replaced as one', async () => {
    await registry.migrate();
    const at = { runId: RUN, stage: 'ablate', what: 'study' } as const;
    const seal = (bytes: Uint8Array) => ({ ...at, bytes, sha256: createHash('sha256').update(bytes).digest('hex') });
    const large = seal(new Uint8Array(randomBytes(1_300_000)));
    const small = seal(new Uint8Array([1, 2, 3]));
    expect(await registry.loadCheckpoint(RUN, 'ablate', 'study')).toBeNull();
    await registry.saveCheckpoint(large);
    await registry.saveCheckpoint(large);
    const loaded = await registry.loadCheckpoint(RUN, 'ablate', 'study');
    expect(loaded?.sha256).toBe(large.sha256);
    expect(Buffer.compare(loaded?.bytes ?? Buffer.alloc(0), large.bytes)).toBe(0);
    expect(await sql`select count(*)::int as n from anneal.checkpoints`).toEqual([{ n: 5 }]);
    await Promise.all([registry.saveCheckpoint(small), registry.saveCheckpoint(small)]);
    expect(await registry.loadCheckpoint(RUN, 'ablate', 'study')).toEqual(small);
    await registry.saveCheckpoint(seal(new Uint8Array()));
    expect((await registry.loadCheckpoint(RUN, 'ablate', 'study'))?.bytes.byteLength).toBe(0);
    await expect(registry.saveCheckpoint({ ...small, sha256: 'wrong' })).rejects.toMatchObject({ kind: 'refused' });
  });

  test('earlier runs come newest first with what they left; the latest completed one is one with an endpoint', async () => {
    await registry.migrate();
    const at = (runId: string) => ({
      runId,
      workflowId: 'w',
      name: 'tiny',
      release: `of-${runId}`,
      spec: {},
      capMicroUsd: cap,
    });
    const cap = fromUsd(1);
    const end = { state: 'Completed', spentMicroUsd: cap };
    for (const runId of ['first', 'second', 'third']) {
      await registry.saveRun(at(runId));
      await registry.finishRun(runId, { ...end, endedAt: new Date().toISOString() });
    }
    await registry.saveOutput('first', 'deploy', { endpointId: 'e' });
    await registry.saveOutput('second', 'ablate', { trialsCompleted: 4 });
    // A stage that never ran is on record without an output.
    await registry.saveOutput('third', 'deploy', null);
    const bytes = Buffer.from('adapter');
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    await registry.saveCheckpoint({ runId: 'second', stage: 'ablate', what: 'ablate.tar', sha256, bytes });
    const rows = await registry.earlierRuns('tiny', 2);
    expect(rows.map(({ runId }) => runId)).toEqual(['third', 'second']);
    expect(rows[1]).toMatchObject({ checkpointSha256: sha256, outputs: { ablate: { trialsCompleted: 4 } } });
    expect(rows[0]).toMatchObject({ checkpointSha256: null, state: 'Completed' });
    expect(await registry.earlierRuns('other', 2)).toEqual([]);
    expect(await registry.latestCompletedRun('tiny')).toMatchObject({ runId: 'first', spentMicroUsd: cap });
  });

  test('job logs take repeats and overlaps without doubling text', async () => {
    await registry.migrate();
    await registry.appendJobLog(RUN, 'j', 0, 'één\n');
    await registry.appendJobLog(RUN, 'j', 0, 'één\n');
    await registry.appendJobLog(RUN, 'j', 0, 'één\ntwo\n');
    await registry.appendJobLog(RUN, 'j', 10, 'three\n');
    await registry.appendJobLog(RUN, 'j', 10, '');
    const rows = await sql<{ text: string }[]>`select text from anneal.job_logs order by from_offset`;
    expect(rows.map(({ text }) => text).join('')).toBe('één\ntwo\nthree\n');
  });

  test('eight registrations at once make one row, and an update keeps created_at', async () => {
    await registry.migrate();
    const results = await Promise.all(Array.from({ length: 8 }, () => registry.registerModel(model(), deployment)));
    expect(new Set(results.map(({ modelId }) => modelId)).size).toBe(1);
    expect(new Set(results.map(({ deploymentId }) => deploymentId)).size).toBe(1);
    expect(results.filter(({ updated }) => !updated)).toHaveLength(1);
    expect(results.flatMap(({ warnings }) => warnings)).toEqual([]);
    expect(await sql`select count(*)::int as n from llm_models`).toEqual([{ n: 1 }]);
    expect(await sql`select cost_so_far from inference_deployments`).toEqual([{ cost_so_far: '12.345678' }]);

    const before = await registry.findModel(null, 'tiny');
    await registry.registerModel(model({ baseUrl: 'https://other/v1', metadata: null }), deployment);
    const after = await registry.findModel(null, 'tiny');
    expect(after).toMatchObject({ id: before?.id, createdAt: before?.createdAt, baseUrl: 'https://other/v1' });
    expect(Date.parse(after?.updatedAt ?? '')).toBeGreaterThan(Date.parse(before?.updatedAt ?? ''));
    expect(await registry.findModel('someone', 'tiny')).toBeNull();

    await registry.registerModel(model({ userId: 'someone' }), { ...deployment, runId: 'run-2' });
    expect(await registry.findModel('someone', 'tiny')).toMatchObject({
      userId: 'someone',
      metadata: model().metadata,
    });
  });

  test('records of models: one per owner, with their deployments, newest first', async () => {
    await registry.migrate();
    expect(await registry.modelRecords()).toEqual([]);
    await registry.saveRun({
      runId: 'run-2',
      workflowId: 'pipeline/tiny',
      name: 'tiny',
      release: 'r2',
      spec: {},
      capMicroUsd: fromUsd(1),
    });
    const first = await registry.registerModel(model(), deployment);
    await registry.registerModel(model({ name: 'other' }), { ...deployment, runId: 'run-o', endpointId: 'ep9' });
    await registry.registerModel(model(), { ...deployment, runId: 'run-2', hubCommit: 'def' });
    // Not ours: nothing of Anneal's was ever deployed for it.
    await sql`insert into llm_models (name, model_id, base_url, served_model_name) values ('foreign', 'm', 'u', 's')`;

    expect((await registry.modelRecords()).map(({ name }) => name)).toEqual(['tiny', 'other']);
    const [record, ...others] = await registry.modelRecords('tiny');
    expect(others).toEqual([]);
    expect(record).toMatchObject({
      ...(await registry.findModel(null, 'tiny')),
      id: first.modelId,
      row: { base_model: 'anneal/tiny-base', context_length: 4096, training_method: 'heretic-ablation' },
      deployments: [
        { ...deployment, runId: 'run-2', release: 'r2', hubCommit: 'def' },
        { ...deployment, release: null },
      ],
    });
    expect(new Date(record?.deployments[0]?.createdAt ?? '').toISOString()).toBe(record?.deployments[0]?.createdAt);

    await registry.registerModel(model({ userId: 'someone' }), { ...deployment, runId: 'run-3' });
    expect((await registry.modelRecords('tiny')).map(({ userId }) => userId)).toEqual(['someone', null]);
    expect(await registry.modelRecords('nothing')).toEqual([]);
  });

  test('records of a table that existed before show none of its own columns', async () => {
    await registry.migrate();
    await sql.unsafe('alter table llm_models add api_key text, alter created_at type timestamp');
    await registry.registerModel(model(), deployment);
    await sql`update llm_models set api_key = 'k3y'`;
    const records = await registry.modelRecords();
    expect(records).toHaveLength(1);
    expect(JSON.stringify(records)).not.toMatch(/k3y|api_key"/);
    await sql.unsafe('alter table llm_models drop base_url');
    await expect(registry.modelRecords()).rejects.toMatchObject({ kind: 'mismatch' });
  });

  test('an existing table with uuid users, no constraint and no default id is used as it is', async () => {
    await sql.unsafe(`
      create table llm_models (
        id text primary key, user_id uuid not null, provider varchar(20), name text, model_id text, base_url text,
        served_model_name text, is_global boolean, enabled boolean, auth_type text, supports_streaming boolean,
        supports_functions boolean, supports_vision boolean, context_length bigint, max_output_tokens integer,
        training_method text, base_model text, training_dataset jsonb, training_date date, metadata json,
        created_at timestamp not null, updated_at timestamp not null, extra text default 'kept')`);
    expect((await registry.migrate()).applied).not.toContain('public.llm_models');
    const owned = model({ userId: randomUUID(), trainingDataset: 'set' });
    const results = await Promise.all(Array.from({ length: 8 }, () => registry.registerModel(owned, deployment)));
    expect(new Set(results.map(({ modelId }) => modelId)).size).toBe(1);
    expect(await sql`select user_id, extra, metadata from llm_models`).toEqual([
      { user_id: owned.userId, extra: 'kept', metadata: owned.metadata },
    ]);
    expect(await registry.findModel(owned.userId, 'tiny')).toMatchObject({ userId: owned.userId });
  });

  test('a foreign llm_models is refused by column, a foreign inference_deployments is only a warning', async () => {
    await sql.unsafe('create table inference_deployments (id uuid default gen_random_uuid(), run_id text, other text)');
    await registry.migrate();
    const result = await registry.registerModel(model(), deployment);
    expect(result.deploymentId).toBeNull();
    expect(result.warnings.join()).toContain('lacks the columns model_id, endpoint_id');
    expect(await sql`select endpoint_id, cost_so_far_micro_usd from anneal.deployments`).toEqual([
      { endpoint_id: 'ep1', cost_so_far_micro_usd: '12345678' },
    ]);

    await sql.unsafe('alter table inference_deployments rename to elsewhere; drop table llm_models');
    await sql.unsafe('create table llm_models (id uuid, user_id text, name text, metadata jsonb)');
    await registry.migrate();
    await expect(registry.registerModel(model(), deployment)).rejects.toMatchObject({
      kind: 'mismatch',
      message: expect.stringMatching(/lacks the columns provider, model_id, base_url/),
    });
  });

  test('a deployment row that its table refuses does not undo the registration', async () => {
    await registry.migrate();
    await sql.unsafe(`alter table inference_deployments add check (state <> 'ready')`);
    const result = await registry.registerModel(model(), deployment);
    expect(result).toMatchObject({ deploymentId: null, updated: false });
    expect(result.warnings.join()).toContain('violates check constraint');
    expect(await registry.findModel(null, 'tiny')).toMatchObject({ id: result.modelId });
  });

  test('nothing is left prepared on the server, as a transaction pooler needs', async () => {
    const single = createRegistry({ url, max: 1 });
    await single.migrate();
    await single.registerModel(model(), deployment);
    const [row] = await sql<
      { n: number }[]
    >`select count(*)::int as n from pg_stat_activity where application_name = 'anneal'`;
    expect(row?.n).toBeGreaterThan(0);
    const pool = postgres(url, { max: 1, prepare: false, fetch_types: false });
    await pool`select ${1}::int`;
    expect(await pool`select name from pg_prepared_statements where name <> ''`).toEqual([]);
    await Promise.all([single.close(), pool.end()]);
  });

  test('connection trouble is unavailable, a wrong password is refused, and neither shows the password', async () => {
    const [closedPort] = await freePorts(1);
    const away = createRegistry({ url: `postgresql://u:s3cret%21@127.0.0.1:${String(closedPort)}/d` });
    const error: unknown = await away.openHoldings().catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: 'RegistryError', kind: 'unavailable' });
    const denied = createRegistry({ url: url.replace(/:[^:@]+@/, ':wr0ng@') });
    const refusal: unknown = await denied.openHoldings().catch((reason: unknown) => reason);
    expect(refusal).toMatchObject({ kind: 'refused' });
    expect(`${String(error)}${String(refusal)}`).not.toMatch(/s3cret|wr0ng/);
    await Promise.all([away.close(), denied.close()]);
  });
});
