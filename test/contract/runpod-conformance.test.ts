import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { RunPodError } from '../../services/runpod/errors.ts';
import { createRunPodGraphql } from '../../services/runpod/graphql.ts';
import type { GraphqlOptions } from '../../services/runpod/graphql-call.ts';
import type { EndpointPort, EndpointSettings, PodPort } from '../../services/runpod/port.ts';
import { createRunPodV2 } from '../../services/runpod/v2/index.ts';
import type { FaultAction } from '../../simulators/faults.ts';
import { API_KEY, createPod, podRequest, startWorld, until, untilReachable } from '../support/runpod-world.ts';
import { deleteServing, endpointSettings, workerTemplate } from '../support/serving-world.ts';

/**
 * The promises of `PodPort` and `EndpointPort` over the wire, the same for each of RunPod's APIs. What one API alone does
 * is in runpod-graphql-adapter and runpod-v2-adapter. With ANNEAL_LIVE_RUNPOD=1 and RUNPOD_API_KEY the part that only
 * reads runs against the real API as well.
 */
type Adapter = PodPort & EndpointPort;

/** What differs on the wire: the operations' names in fault rules, and how a refusal is dressed. */
const APIS = {
  graphql: {
    create: createRunPodGraphql,
    operations: {
      createPod: 'podFindAndDeployOnDemand',
      listPods: 'myself.pods',
      getPod: 'pod',
      stopPod: 'podStop',
      startPod: 'podResume',
      terminatePod: 'podTerminate',
      createEndpoint: 'saveEndpoint',
      updateEndpoint: 'saveEndpoint',
    },
    refusal: (message: string): FaultAction => ({
      kind: 'status',
      status: 200,
      body: { errors: [{ message, extensions: { code: 'RUNPOD' } }], data: null },
    }),
    hostMemoryGb: 125 as number | null,
    retiredMessage: (status: number) => `RunPod has retired its GraphQL API (HTTP ${status}); set RUNPOD_API=v2`,
  },
  v2: {
    create: createRunPodV2,
    operations: {
      createPod: 'v2.pods.create',
      listPods: 'v2.pods.list',
      getPod: 'v2.pods.get',
      stopPod: 'v2.pods.action.stop',
      startPod: 'v2.pods.action.start',
      terminatePod: 'v2.pods.delete',
      createEndpoint: 'v2.serverless.create',
      updateEndpoint: 'v2.serverless.update',
    },
    refusal: (message: string): FaultAction => ({
      kind: 'status',
      status: 400,
      body: { title: 'Bad Request', status: 400, detail: message },
    }),
    hostMemoryGb: null,
    retiredMessage: (status: number) =>
      `RunPod has retired its REST v2 API (HTTP ${status}); use a newer version of Anneal`,
  },
} as const;
type Api = keyof typeof APIS;
const names = Object.keys(APIS) as Api[];

const H100 = 'NVIDIA H100 80GB HBM3';
const CREATE = { deadlineMs: 5_000 };

async function failureOf(action: Promise<unknown>): Promise<RunPodError> {
  const error: unknown = await action.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof RunPodError)) throw new Error(`expected a RunPodError, got ${String(error)}`);
  return error;
}

/** Holds for any account, so it may be asked of the real one. */
function readingPart(adapter: () => Adapter): void {
  test('the account answers amounts, or nulls where the API may not say', async () => {
    const account = await adapter().account();
    const amount = expect.any(Number);
    if (adapter().capabilities.account) expect(account).toMatchObject({ balance: amount, spendPerHour: amount });
    expect(Object.keys(account).sort()).toEqual(['balance', 'spendLimitPerHour', 'spendPerHour', 'workerQuota']);
  });

  test('offers have a price, memory and a word of stock, each type once per cloud', async () => {
    const offers = await adapter().listOffers({ clouds: ['SECURE', 'COMMUNITY'], dataCenterIds: null, gpuCount: 1 });
    expect(offers.length).toBeGreaterThan(0);
    expect(new Set(offers.map(({ gpuTypeId, cloud }) => `${gpuTypeId} ${cloud}`)).size).toBe(offers.length);
    expect(offers.map(({ gpuTypeId }) => gpuTypeId)).toContain(H100);
    expect(offers.map(({ gpuTypeId }) => gpuTypeId)).not.toContain('unknown');
    for (const { pricePerHour, memoryGb, stock, dataCenterId } of offers) {
      expect(pricePerHour).toBeGreaterThan(0);
      expect(memoryGb).toBeGreaterThan(0);
      expect(['High', 'Medium', 'Low', 'None']).toContain(stock);
      expect(dataCenterId).toBeNull();
    }
  });

  test('each data centre asked for has a row of its own', async () => {
    const query = { clouds: ['SECURE'], dataCenterIds: ['EU-RO-1', 'US-KS-2'], gpuCount: 2 } as const;
    const rows = (await adapter().listOffers(query)).filter(({ gpuTypeId }) => gpuTypeId === H100);
    expect(rows.map(({ dataCenterId }) => dataCenterId).sort()).toEqual(['EU-RO-1', 'US-KS-2']);
  });

  test('pods, endpoints and templates can be listed', async () => {
    for (const list of [adapter().listPods(), adapter().listEndpoints(), adapter().listTemplates()]) {
      expect(await list).toEqual(expect.any(Array));
    }
    expect(await adapter().getPod('neverthere')).toBeNull();
  });
}

describe.each(names)('%s', (api) => {
  const { create, operations, refusal, hostMemoryGb, retiredMessage } = APIS[api];
  type Operation = keyof typeof operations;
  let world: Awaited<ReturnType<typeof startWorld>>;
  let runpod: Adapter;
  const adapter = (options: Partial<GraphqlOptions> = {}): Adapter =>
    create({ apiUrl: world.simulator.url, apiKey: API_KEY, keepPodListMs: 0, ...options });
  const fault = (operation: Operation, action: FaultAction, times = 1): void => {
    world.simulator.faults.add({ target: 'runpod', operation: operations[operation], action, times });
  };
  const sim = (path: string, body: unknown) =>
    fetch(`${world.simulator.url}/_sim/${path}`, { method: 'POST', body: JSON.stringify(body) });

  beforeAll(async () => {
    world = await startWorld({ initialBalanceUsd: 50 });
  });
  // A refusal for asking too often slows an adapter down: each test has its own.
  beforeEach(() => {
    runpod = adapter();
  });
  afterEach(async () => {
    world.simulator.faults.clear();
    await sim('retired', { graphql: false, v2: false });
    for (const pod of await world.runpod.listPods()) await world.runpod.terminatePod(pod.id);
    await deleteServing(world.runpod);
  });
  afterAll(async () => {
    await world.close();
  });

  readingPart(() => runpod);

  describe('account and offers', () => {
    test('the account shows balance, spending, limit and worker quota', async () => {
      expect(await runpod.account()).toEqual({
        balance: 50_000_000,
        spendPerHour: 0,
        spendLimitPerHour: 80_000_000,
        workerQuota: 5,
      });
    });

    test('an offer is exact; a cloud without the type has none', async () => {
      const offers = await runpod.listOffers({ clouds: ['SECURE', 'COMMUNITY'], dataCenterIds: null, gpuCount: 1 });
      expect(offers).toContainEqual(
        expect.objectContaining({
          gpuTypeId: H100,
          displayName: 'H100 SXM',
          memoryGb: 80,
          cloud: 'SECURE',
          pricePerHour: 3_990_000,
          stock: 'High',
          dataCenterId: null,
          hostMemoryGb,
          maxGpuCount: 8,
        }),
      );
      expect(
        offers.find(({ gpuTypeId, cloud }) => gpuTypeId === 'NVIDIA H100 PCIe' && cloud === 'COMMUNITY')?.stock,
      ).toBe('None');
      expect(offers.some(({ gpuTypeId, cloud }) => gpuTypeId === 'NVIDIA H200' && cloud === 'COMMUNITY')).toBe(false);
    });

    test('stock is told per data centre', async () => {
      const stock = (dataCenterId: string, word: string) =>
        sim('stock', { gpuTypeId: 'NVIDIA A40', cloud: 'SECURE', dataCenterId, stock: word });
      await stock('EU-RO-1', 'None');
      await stock('US-KS-2', 'Low');
      const query = { clouds: ['SECURE'], dataCenterIds: ['EU-RO-1', 'US-KS-2', 'ZZ-NO-9'], gpuCount: 1 } as const;
      const rows = (await runpod.listOffers(query)).filter(({ gpuTypeId }) => gpuTypeId === 'NVIDIA A40');
      expect(Object.fromEntries(rows.map(({ dataCenterId, stock: word }) => [dataCenterId, word]))).toEqual({
        'EU-RO-1': 'None',
        'US-KS-2': 'Low',
        'ZZ-NO-9': 'None',
      });
    });
  });

  describe('create', () => {
    test('a created pod is RUNNING without an address first, then reachable, and is billed', async () => {
      const pod = await createPod(runpod, podRequest('anneal-t-life-r20260101-000000', { dataCenterId: 'US-KS-2' }));
      expect(pod).toMatchObject({
        desiredStatus: 'RUNNING',
        ssh: null,
        costPerHour: 3_990_000,
        gpuTypeId: H100,
        gpuCount: 1,
        dataCenterId: 'US-KS-2',
        containerDiskGb: 40,
        volumeGb: 100,
      });
      expect(pod.env['ANNEAL_WORKSPACE']).toBe('/workspace');
      expect(pod.env['PUBLIC_KEY']).toContain('ssh-ed25519 ');
      await untilReachable(runpod, pod.id);
      expect(await runpod.listPods()).toEqual([await runpod.getPod(pod.id)]);
      expect((await world.runpod.account()).spendPerHour).toBeGreaterThanOrEqual(3_990_000);
    });

    test.each([
      ['no stock', { gpuTypeId: 'NVIDIA H100 PCIe', cloud: 'COMMUNITY' as const }],
      ['an unknown type', { gpuTypeId: 'NVIDIA H1000' }],
      ['more host memory than machines have', { minMemoryGb: 4000 }],
    ])('%s is the outcome noCapacity', async (_, change) => {
      const outcome = await runpod.createPod(podRequest('anneal-t-none-r20260101-000000', change), CREATE);
      expect(outcome).toMatchObject({
        kind: 'noCapacity',
        message: expect.stringContaining('no longer any instances'),
      });
      expect(await runpod.listPods()).toEqual([]);
    });

    test.each([
      'There are no instances currently available',
      'This machine does not have the resources to deploy your pod. Please try a different machine',
    ])('"%s" is the outcome noCapacity', async (message) => {
      fault('createPod', refusal(message));
      const outcome = await runpod.createPod(podRequest('anneal-t-none-r20260101-000000'), CREATE);
      expect(outcome).toEqual({ kind: 'noCapacity', message });
    });

    test('too little balance is refused', async () => {
      await sim('balance', { usd: 1 });
      const error = await failureOf(runpod.createPod(podRequest('anneal-t-poor-r20260101-000000'), CREATE));
      await sim('balance', { usd: 50 });
      expect(error).toMatchObject({ kind: 'refused', code: 'InsufficientBalance' });
    });

    test('after a lost answer the create is uncertain, was sent once, and the list finds the pod', async () => {
      const name = 'anneal-t-lost-r20260101-000000';
      fault('createPod', { kind: 'loseAnswer' });
      const error = await failureOf(runpod.createPod(podRequest(name), CREATE));
      expect(error).toMatchObject({ kind: 'uncertain', code: 'Network' });
      expect((await runpod.listPods()).map((pod) => [pod.name, pod.env['ANNEAL_WORKSPACE']])).toEqual([
        [name, '/workspace'],
      ]);
    });

    test('a create whose connection is dropped is uncertain', async () => {
      fault('createPod', { kind: 'drop' });
      const error = await failureOf(runpod.createPod(podRequest('anneal-t-drop-r20260101-000000'), CREATE));
      expect(error).toMatchObject({ kind: 'uncertain', code: 'Network' });
    });

    test('a create that hangs ends uncertain at its deadline', async () => {
      fault('createPod', { kind: 'delay', ms: 400 });
      const request = podRequest('anneal-t-slow-r20260101-000000');
      const error = await failureOf(runpod.createPod(request, { deadlineMs: 100 }));
      expect(error).toMatchObject({ kind: 'uncertain', code: 'Timeout' });
      await until(async () => (await runpod.listPods()).length === 1);
    });

    test('a create whose turn comes after its deadline is not sent, and says so', async () => {
      const paced = adapter({ pace: { perSecond: 0.01, burst: 1 } });
      await paced.listPods();
      const request = podRequest('anneal-t-late-r20260101-000000');
      const error = await failureOf(paced.createPod(request, { deadlineMs: 50 }));
      expect(error).toMatchObject({ kind: 'unavailable', code: 'NotSent' });
      expect(await runpod.listPods()).toEqual([]);
    });

    test('a create given up before it is sent is not sent; one given up afterwards still answers', async () => {
      const paced = adapter({ pace: { perSecond: 0.01, burst: 1 } });
      const request = podRequest('anneal-t-given-r20260101-000000');
      const sent = new AbortController();
      fault('createPod', { kind: 'delay', ms: 100 });
      const answered = paced.createPod(request, { ...CREATE, signal: sent.signal });
      const waiting = new AbortController();
      const held = failureOf(paced.createPod(request, { ...CREATE, signal: waiting.signal }));
      await until(() => Promise.resolve(world.simulator.faults.list().length === 0));
      sent.abort();
      waiting.abort();
      expect(await held).toMatchObject({ kind: 'unavailable', code: 'NotSent' });
      const already = failureOf(runpod.createPod(request, { ...CREATE, signal: AbortSignal.abort() }));
      expect(await already).toMatchObject({ kind: 'unavailable', code: 'NotSent' });
      expect(await answered).toMatchObject({ kind: 'created' });
      expect(await runpod.listPods()).toHaveLength(1);
    });

    test('names are not unique, and a lagging list hides a new pod while the pod itself is known', async () => {
      const request = podRequest('anneal-t-twin-r20260101-000000');
      const first = await createPod(runpod, request);
      await createPod(runpod, request);
      fault('listPods', { kind: 'lagList', ms: 60_000 }, 2);
      expect(await runpod.listPods()).toEqual([]);
      expect((await runpod.getPod(first.id))?.name).toBe(request.name);
      expect(await runpod.listPods()).toHaveLength(2);
    });
  });

  describe('one list for many', () => {
    /** Counts by a rule that does nothing but wear off. */
    const counted = (operation: Operation) => {
      const rule = { target: 'runpod', operation: operations[operation], times: 1_000 } as const;
      world.simulator.faults.add({ ...rule, action: { kind: 'delay', ms: 1 } });
      return () => {
        const left = world.simulator.faults.list().find((listed) => listed.operation === rule.operation);
        return 1_000 - (left?.times ?? 0);
      };
    };

    test('everybody who waits for a running pod is answered by one list', async () => {
      const pods = await Promise.all(
        ['a', 'b', 'c'].map((letter) => createPod(runpod, podRequest(`anneal-t-${letter}-r20260101-000000`))),
      );
      const shared = adapter({ keepPodListMs: 60_000 });
      const [lists, reads] = [counted('listPods'), counted('getPod')];
      const looks = Array.from({ length: 10 }, () => pods.map(({ id }) => shared.getPod(id))).flat();
      expect((await Promise.all(looks)).map((pod) => pod?.id)).toEqual(
        Array(10)
          .fill(pods.map(({ id }) => id))
          .flat(),
      );
      for (const { id } of pods) await shared.getPod(id);
      expect(await shared.listPods()).toHaveLength(3);
      expect([lists(), reads()]).toEqual([1, 0]);
    });

    test('gone and stopped are never told from a list', async () => {
      const pod = await createPod(runpod, podRequest('anneal-t-gone-r20260101-000000'));
      const shared = adapter({ keepPodListMs: 60_000 });
      const reads = counted('getPod');
      expect(await shared.getPod('neverthere')).toBeNull();
      expect(await shared.getPod('neverthere')).toBeNull();
      expect(reads()).toBe(2);
      await runpod.stopPod(pod.id);
      const other = adapter({ keepPodListMs: 60_000 });
      expect(await other.getPod(pod.id)).toMatchObject({ desiredStatus: 'EXITED' });
      // Started elsewhere: the list that said "stopped" is still fresh enough, and is not believed.
      await runpod.startPod(pod.id);
      expect(await other.getPod(pod.id)).toMatchObject({ desiredStatus: 'RUNNING' });
    });

    test('what this process changed is asked anew, even while the list lags', async () => {
      const pod = await createPod(runpod, podRequest('anneal-t-mine-r20260101-000000'));
      const shared = adapter({ keepPodListMs: 60_000 });
      expect(await shared.listPods()).toHaveLength(1);
      await createPod(shared, podRequest('anneal-t-next-r20260101-000000'));
      expect(await shared.listPods()).toHaveLength(2);
      await shared.stopPod(pod.id);
      expect(await shared.getPod(pod.id)).toMatchObject({ desiredStatus: 'EXITED' });
      await shared.startPod(pod.id);
      expect(await shared.getPod(pod.id)).toMatchObject({ desiredStatus: 'RUNNING' });
      await shared.terminatePod(pod.id);
      expect(await shared.getPod(pod.id)).toBeNull();
      expect(await shared.listPods()).toHaveLength(1);
    });

    test('a list that failed is not kept', async () => {
      const shared = adapter({ keepPodListMs: 60_000 });
      fault('listPods', { kind: 'status', status: 503 });
      expect(await failureOf(shared.listPods())).toMatchObject({ kind: 'unavailable', code: 'Server' });
      expect(await shared.listPods()).toEqual([]);
    });
  });

  describe('stop and start', () => {
    test('a stopped pod costs its volume only, and runs again on its GPUs at another address', async () => {
      const pod = await createPod(runpod, podRequest('anneal-t-stop-r20260101-000000'));
      const before = await untilReachable(runpod, pod.id);
      await runpod.stopPod(pod.id);
      await runpod.stopPod(pod.id);
      expect(await runpod.getPod(pod.id)).toMatchObject({ desiredStatus: 'EXITED', ssh: null });
      // 100 GB at 0.20 USD per GB-month of 730 hours.
      expect((await world.runpod.account()).spendPerHour).toBe(27_397);
      expect(await runpod.startPod(pod.id)).toEqual({ kind: 'started' });
      expect(await runpod.startPod(pod.id)).toEqual({ kind: 'started' });
      expect(await runpod.getPod(pod.id)).toMatchObject({ desiredStatus: 'RUNNING', gpuCount: 1 });
      expect((await untilReachable(runpod, pod.id)).port).not.toBe(before.port);
    });

    test('a start whose GPU has been rented to somebody else is the outcome noCapacity; the pod stays stopped', async () => {
      const pod = await createPod(runpod, podRequest('anneal-t-lent-r20260101-000000'));
      await runpod.stopPod(pod.id);
      fault('startPod', { kind: 'noCapacity' });
      expect(await runpod.startPod(pod.id)).toEqual({
        kind: 'noCapacity',
        message: expect.stringContaining('not enough free GPUs'),
      });
      expect(await runpod.getPod(pod.id)).toMatchObject({ desiredStatus: 'EXITED' });
    });

    test('an unclear end may be repeated: neither makes anything new', async () => {
      const pod = await createPod(runpod, podRequest('anneal-t-again-r20260101-000000'));
      fault('stopPod', { kind: 'loseAnswer' });
      expect(await failureOf(runpod.stopPod(pod.id))).toMatchObject({ kind: 'unavailable', code: 'Network' });
      await runpod.stopPod(pod.id);
      fault('startPod', { kind: 'loseAnswer' });
      expect(await failureOf(runpod.startPod(pod.id))).toMatchObject({ kind: 'unavailable', code: 'Network' });
      expect(await runpod.startPod(pod.id)).toEqual({ kind: 'started' });
      expect(await runpod.getPod(pod.id)).toMatchObject({ desiredStatus: 'RUNNING' });
    });

    test('an unknown pod can be neither stopped nor started', async () => {
      expect(await failureOf(runpod.stopPod('neverthere'))).toMatchObject({ kind: 'refused', code: 'NotFound' });
      expect(await failureOf(runpod.startPod('neverthere'))).toMatchObject({ kind: 'refused', code: 'NotFound' });
    });
  });

  describe('terminate', () => {
    test('a terminated pod is unknown afterwards; an unknown pod counts as terminated', async () => {
      const pod = await createPod(runpod, podRequest('anneal-t-end-r20260101-000000'));
      await runpod.terminatePod(pod.id);
      expect(await runpod.getPod(pod.id)).toBeNull();
      await runpod.terminatePod(pod.id);
      await runpod.terminatePod('neverthere');
      expect((await world.runpod.account()).spendPerHour).toBe(0);
    });

    test('a pod that is taken away is gone for reads and lists', async () => {
      const pod = await createPod(runpod, podRequest('anneal-t-away-r20260101-000000'));
      await untilReachable(runpod, pod.id);
      await sim(`pods/${pod.id}/take-away`, {});
      expect(await runpod.getPod(pod.id)).toBeNull();
      expect(await runpod.listPods()).toEqual([]);
    });
  });

  const template = workerTemplate;
  const settings = (templateId: string, change: Partial<EndpointSettings> = {}): EndpointSettings =>
    endpointSettings(templateId, { gpuPools: 'AMPERE_80,ADA_80_PRO,-NVIDIA H100 PCIe', ...change });
  const deploy = async (change: Partial<EndpointSettings> = {}) => {
    const { id } = await runpod.saveTemplate(template());
    return runpod.createEndpoint(settings(id, change), CREATE);
  };

  describe('templates', () => {
    test('save, read back, replace; the name is unique; unknown names count as deleted', async () => {
      const saved = await runpod.saveTemplate(template());
      expect(await runpod.listTemplates()).toEqual([saved]);
      expect(saved).toEqual({ ...template(), id: saved.id });
      const replaced = await runpod.saveTemplate({ ...template(), env: { MODEL_NAME: 'a/b' } }, saved.id);
      expect(replaced).toMatchObject({ id: saved.id, env: { MODEL_NAME: 'a/b' } });
      expect(await runpod.listTemplates()).toEqual([replaced]);
      expect(await failureOf(runpod.saveTemplate(template()))).toMatchObject({ kind: 'refused', code: 'Invalid' });
      await runpod.deleteTemplate('never-there');
      await runpod.deleteTemplate(saved.name);
      expect(await runpod.listTemplates()).toEqual([]);
    });

    test('a template in use is not deleted', async () => {
      const { id } = await deploy();
      expect(await failureOf(runpod.deleteTemplate(template().name))).toMatchObject({ kind: 'refused' });
      expect(await runpod.listTemplates()).toHaveLength(1);
      await runpod.deleteEndpoint(id);
      await runpod.deleteTemplate(template().name);
      expect(await runpod.listTemplates()).toEqual([]);
    });
  });

  describe('endpoints', () => {
    test('reads back what was created, and the list shows it', async () => {
      const created = await deploy();
      expect(created).toEqual({ ...settings(created.templateId), id: created.id });
      expect(await runpod.listEndpoints()).toEqual([created]);
    });

    test('an update keeps every field it does not name', async () => {
      const created = await deploy({ workersMax: 2, scalerValue: 7, idleTimeoutSeconds: 33 });
      const updated = await runpod.updateEndpoint(created.id, { workersMax: 3 });
      expect(updated).toEqual({ ...created, workersMax: 3 });
      expect(await runpod.listEndpoints()).toEqual([updated]);
    });

    test('the scaler can be changed to request count', async () => {
      const created = await deploy();
      const change = { scalerType: 'REQUEST_COUNT', scalerValue: 7 } as const;
      expect(await runpod.updateEndpoint(created.id, change)).toMatchObject(change);
    });

    test('an update to another template, and back, moves the endpoint to what each says', async () => {
      const created = await deploy();
      const next = await runpod.saveTemplate({ ...template({ MODEL_REVISION: 'def' }), name: 'anneal-t-tiny-r2' });
      const updated = await runpod.updateEndpoint(created.id, settings(next.id, { workersMax: 2 }));
      expect(updated).toMatchObject({ templateId: next.id, workersMax: 2 });
      const { id: _id, ...before } = created;
      const restored = await runpod.updateEndpoint(created.id, before);
      expect(restored).toEqual(created);
      expect(await runpod.listEndpoints()).toEqual([created]);
    });

    test('an unknown endpoint, or an unknown template, is not found', async () => {
      const lost = failureOf(runpod.updateEndpoint('neverthere', { workersMax: 1 }));
      expect(await lost).toMatchObject({ kind: 'refused', code: 'NotFound' });
      const orphan = failureOf(runpod.createEndpoint(settings('neverthere'), CREATE));
      expect(await orphan).toMatchObject({ kind: 'refused', code: 'NotFound' });
    });

    test('the worker quota is its own refusal', async () => {
      expect(await failureOf(deploy({ workersMax: 6 }))).toMatchObject({ kind: 'refused', code: 'WorkerQuota' });
    });

    test('an endpoint with workers can be deleted; unknown endpoints count as deleted', async () => {
      const { id } = await deploy({ workersMax: 2 });
      await runpod.deleteEndpoint(id);
      await runpod.deleteEndpoint(id);
      expect(await runpod.listEndpoints()).toEqual([]);
    });

    test('a lost answer to a create is uncertain and the list finds the endpoint', async () => {
      fault('createEndpoint', { kind: 'loseAnswer' });
      expect(await failureOf(deploy())).toMatchObject({ kind: 'uncertain', code: 'Network' });
      expect(await runpod.listEndpoints()).toHaveLength(1);
    });

    test('a lost answer to an update is unavailable: it may be repeated', async () => {
      const { id } = await deploy();
      fault('updateEndpoint', { kind: 'loseAnswer' });
      const error = await failureOf(runpod.updateEndpoint(id, { workersMax: 2 }));
      expect(error).toMatchObject({ kind: 'unavailable', code: 'Network' });
    });

    test('a create given up before it is sent is not sent', async () => {
      const { id } = await runpod.saveTemplate(template());
      const given = runpod.createEndpoint(settings(id), { ...CREATE, signal: AbortSignal.abort() });
      expect(await failureOf(given)).toMatchObject({ kind: 'unavailable', code: 'NotSent' });
      expect(await runpod.listEndpoints()).toEqual([]);
    });

    test('the serverless price is that of the dearest pool', () => {
      expect(runpod.serverlessPricePerHour('AMPERE_80, ADA_80_PRO,-NVIDIA H100 NVL')).toBe(4_176_000);
      expect(runpod.serverlessPricePerHour('ADA_80_PRO,NO_SUCH_POOL')).toBeNull();
      expect(runpod.serverlessPricePerHour('NO_SUCH_POOL')).toBeNull();
    });
  });

  describe('failures', () => {
    const status = (code: number, extra: { body?: unknown; headers?: Record<string, string> } = {}): FaultAction => ({
      kind: 'status',
      status: code,
      ...extra,
    });
    const createAfter = (action: FaultAction, env: Record<string, string> = {}) => {
      fault('createPod', action);
      return failureOf(runpod.createPod(podRequest('anneal-t-fail-r20260101-000000', { env }), CREATE));
    };

    test('a wrong key is refused', async () => {
      const stranger = adapter({ apiKey: 'rpa_wrong' });
      const refused = { kind: 'refused', code: 'Unauthorized', httpStatus: 401 };
      expect(await failureOf(stranger.listPods())).toMatchObject(refused);
      expect(await failureOf(stranger.getPod('any'))).toMatchObject(refused);
    });

    test.each([
      [403, 'refused', 'Forbidden'],
      [500, 'unavailable', 'Server'],
      [502, 'unavailable', 'Server'],
    ])('HTTP %d on a read is %s/%s, whatever the body', async (code, kind, name) => {
      fault('listPods', status(code, { body: '<html>bad gateway</html>' }));
      expect(await failureOf(runpod.listPods())).toMatchObject({ kind, code: name, httpStatus: code });
    });

    test.each([404, 410] as const)('a retired API (HTTP %d) says what to set', async (code) => {
      await sim('retired', { [api]: code });
      const error = await failureOf(runpod.listPods());
      expect(error).toMatchObject({ kind: 'refused', code: 'Retired', httpStatus: code });
      expect(error.message).toContain(retiredMessage(code));
    });

    test('429 carries Retry-After and is not uncertain, even for a create', async () => {
      const error = await createAfter(status(429, { headers: { 'retry-after': '7' } }));
      expect(error).toMatchObject({ kind: 'unavailable', code: 'RateLimited', retryAfterMs: 7000 });
    });

    test.each([
      ['5xx', status(503, { body: 'busy' })],
      ['a success that is not JSON', status(200, { body: '<html></html>' })],
      ['an unexpected shape', status(200, { body: { id: 7, data: { podFindAndDeployOnDemand: { id: 7 } } } })],
      ['the generic text', refusal('Something went wrong. Please try again later or contact support.')],
    ])('%s to a create is uncertain', async (_, action) => {
      expect(await createAfter(action)).toMatchObject({ kind: 'uncertain', code: 'Server' });
    });

    test.each([
      ['Your account balance is too low to rent a pod. Please add funds to your account.', 'InsufficientBalance'],
      ['Max workers across all endpoints must not exceed your workers quota (5).', 'WorkerQuota'],
      ['template not found', 'NotFound'],
      ['Not authorized to do this', 'Forbidden'],
      ['volumeInGb must be at least 10', 'Invalid'],
      ['Invalid image name', 'Invalid'],
      ['name and image are required', 'Invalid'],
    ])('"%s" to a create is refused as %s: nothing was made', async (message, code) => {
      expect(await createAfter(refusal(message))).toMatchObject({ kind: 'refused', code });
    });

    test('an unknown wording to anything but a create is refused', async () => {
      fault('listPods', refusal('Machine handshake lost'));
      expect(await failureOf(runpod.listPods())).toMatchObject({ kind: 'refused', code: 'Invalid' });
    });

    test('a dropped connection on a read is unavailable', async () => {
      fault('listPods', { kind: 'drop' });
      expect(await failureOf(runpod.listPods())).toMatchObject({ kind: 'unavailable', code: 'Network' });
    });

    test('no error text contains environment values or the key', async () => {
      const secret = 'value-that-must-not-leak';
      for (const action of [status(500), refusal(`bad env ${secret} ${API_KEY}`)]) {
        const error = await createAfter(action, { TOKEN: secret });
        const text = `${error.message} ${String(error.stack)} ${JSON.stringify(error)} ${String(error.cause)}`;
        expect(text).not.toContain(secret);
        expect(text).not.toContain(API_KEY);
      }
      fault('createPod', refusal(`There are no instances currently available for ${secret}`));
      const request = podRequest('anneal-t-env-r20260101-000000', { env: { TOKEN: secret } });
      expect(JSON.stringify(await runpod.createPod(request, CREATE))).not.toContain(secret);
    });
  });
});

if (process.env['ANNEAL_LIVE_RUNPOD'] === '1') {
  describe.each(names)('%s, the real API, reading only', (api) => {
    const apiKey = process.env['RUNPOD_API_KEY'] ?? '';
    const live = APIS[api].create({ apiUrl: process.env['RUNPOD_API_URL'] ?? 'https://api.runpod.io', apiKey });
    readingPart(() => live);
  });
}
