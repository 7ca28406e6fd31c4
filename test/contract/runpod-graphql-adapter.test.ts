import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createRunPodGraphql } from '../../services/runpod/graphql.ts';
import type { EndpointSettings } from '../../services/runpod/port.ts';
import type { FaultAction } from '../../simulators/faults.ts';
import { startRecorder, type Recorder } from '../support/recorder.ts';
import { API_KEY, podRequest, startWorld } from '../support/runpod-world.ts';
import { deleteServing, endpointSettings } from '../support/serving-world.ts';

/** What the GraphQL adapter does beyond the promises that both adapters keep (runpod-conformance). */

let world: Awaited<ReturnType<typeof startWorld>>;
let runpod: ReturnType<typeof createRunPodGraphql>;
beforeAll(async () => {
  world = await startWorld({ initialBalanceUsd: 50 });
});
beforeEach(() => {
  runpod = createRunPodGraphql({ apiUrl: world.simulator.url, apiKey: API_KEY, keepPodListMs: 0 });
});
afterEach(() => {
  world.simulator.faults.clear();
});
afterAll(async () => {
  await world.close();
});

const fault = (operation: string, action: FaultAction): void => {
  world.simulator.faults.add({ target: 'runpod', operation, action });
};

describe('refusals in a 200', () => {
  const answer = (body: unknown): FaultAction => ({ kind: 'status', status: 200, body });
  const create = (action: FaultAction) => {
    fault('podFindAndDeployOnDemand', action);
    return runpod.createPod(podRequest('anneal-t-odd-r20260101-000000'), { deadlineMs: 5000 });
  };

  test.each([
    ['Field "x" is not defined by type "Y"', 'GRAPHQL_VALIDATION_FAILED', 'Invalid'],
    ['Variable "$input" got a wrong value', 'BAD_USER_INPUT', 'Invalid'],
    ['You cannot afford this', 'INSUFFICIENT_BALANCE', 'InsufficientBalance'],
  ])('"%s" is known by its code %s: refused', async (message, code, expected) => {
    const action = answer({ errors: [{ message, extensions: { code } }], data: null });
    await expect(create(action)).rejects.toMatchObject({ kind: 'refused', code: expected });
  });

  test.each([
    [
      'a refusal of unknown wording',
      { errors: [{ message: 'Machine handshake lost', extensions: { code: 'RUNPOD' } }] },
    ],
    ['null without an error', { data: { podFindAndDeployOnDemand: null } }],
  ])('%s to a create is uncertain', async (_, body) => {
    await expect(create(answer(body))).rejects.toMatchObject({ kind: 'uncertain', code: 'Server' });
  });
});

describe('what is sent', () => {
  let recorder: Recorder;
  beforeEach(async () => {
    recorder = await startRecorder();
  });
  afterEach(() => recorder.close());
  const recorded = () => createRunPodGraphql({ apiUrl: recorder.url, apiKey: 'rpa_key' });
  const gpu = {
    id: 'NVIDIA A40',
    displayName: 'A40',
    memoryInGb: 48,
    secureCloud: true,
    communityCloud: false,
    securePrice: 0.4,
    communityPrice: 0,
    maxGpuCountSecureCloud: 10,
    maxGpuCountCommunityCloud: 0,
  };

  test('offers of all clouds and data centres are one request, a price field for each', async () => {
    const prices = {
      price0: { stockStatus: 'Low', minMemory: 50 },
      price1: null,
      price2: { stockStatus: null, minMemory: null },
      price3: null,
    };
    recorder.answer(200, { data: { gpuTypes: [{ ...gpu, ...prices }] } });
    const offers = await recorded().listOffers({
      clouds: ['SECURE', 'COMMUNITY'],
      dataCenterIds: ['EU-RO-1', 'US-KS-2'],
      gpuCount: 3,
    });
    expect(offers).toEqual([
      expect.objectContaining({ dataCenterId: 'EU-RO-1', stock: 'Low', hostMemoryGb: 50, maxGpuCount: 10 }),
      expect.objectContaining({ dataCenterId: 'US-KS-2', stock: 'None', hostMemoryGb: null, maxGpuCount: 10 }),
    ]);
    expect(recorder.requests).toHaveLength(1);
    expect(recorder.requests[0]?.body).toMatchObject({
      query: expect.stringContaining('price3: lowestPrice(input: $input3)'),
      variables: {
        input0: { gpuCount: 3, secureCloud: true, dataCenterId: 'EU-RO-1' },
        input3: { gpuCount: 3, secureCloud: false, dataCenterId: 'US-KS-2' },
      },
    });
  });

  test('a worker quota that the API does not have is not known, and the account is read all the same', async () => {
    recorder.answer(400, {
      errors: [
        {
          message: 'Cannot query field "maxServerlessConcurrency" on type "User".',
          extensions: { code: 'GRAPHQL_VALIDATION_FAILED' },
        },
      ],
    });
    recorder.answer(200, { data: { myself: { clientBalance: 1.5, currentSpendPerHr: 0, spendLimit: null } } });
    expect(await recorded().account()).toEqual({
      balance: 1_500_000,
      spendPerHour: 0,
      spendLimitPerHour: null,
      workerQuota: null,
    });
  });

  test('a create asks for a public address, host memory and the oldest CUDA version', async () => {
    recorder.answer(200, { data: { podFindAndDeployOnDemand: null } });
    const request = podRequest('anneal-t-cuda-r20260101-000000', { minCudaVersion: '12.8', dataCenterId: 'US-KS-2' });
    await expect(recorded().createPod(request, { deadlineMs: 5000 })).rejects.toMatchObject({ kind: 'uncertain' });
    expect(recorder.requests[0]?.body).toMatchObject({
      variables: {
        input: { minCudaVersion: '12.8', dataCenterId: 'US-KS-2', minMemoryInGb: 100, supportPublicIp: true },
      },
    });
  });
});

describe('endpoints', () => {
  const deploy = async (change: Partial<EndpointSettings>) => {
    const env = { MODEL_NAME: 'anneal/tiny' };
    const spec = { name: 'anneal-t-tiny', image: 'i', containerDiskGb: 20, dockerArgs: '', env };
    const { id: templateId } = await runpod.saveTemplate(spec);
    const own = { gpuPools: 'AMPERE_80', idleTimeoutSeconds: 33, scalerType: 'REQUEST_COUNT', scalerValue: 7 } as const;
    return runpod.createEndpoint(endpointSettings(templateId, { ...own, ...change }), { deadlineMs: 5000 });
  };
  afterEach(() => deleteServing(runpod));

  test('RunPod marks FlashBoot in the name; the name asked for comes back', async () => {
    expect((await deploy({})).name).toBe('anneal-t-tiny');
    expect(world.simulator.state().endpoints[0]?.name).toBe('anneal-t-tiny -fb');
  });

  test('an update sends back what it does not name, the idle timeout of a request-count scaler included', async () => {
    const created = await deploy({});
    expect(await runpod.updateEndpoint(created.id, { workersMax: 3 })).toEqual({ ...created, workersMax: 3 });
  });

  test('delete drains first: with workers left RunPod refuses', async () => {
    const { id } = await deploy({ workersMax: 2 });
    fault('saveEndpoint', { kind: 'status', status: 503 });
    await expect(runpod.deleteEndpoint(id)).rejects.toMatchObject({ kind: 'unavailable' });
    expect(await runpod.listEndpoints()).toHaveLength(1);
    await runpod.deleteEndpoint(id);
    expect(await runpod.listEndpoints()).toEqual([]);
  });
});
