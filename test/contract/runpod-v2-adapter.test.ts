import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { EndpointSettings } from '../../services/runpod/port.ts';
import { createRunPodV2 } from '../../services/runpod/v2/index.ts';
import { startRecorder, type Recorder } from '../support/recorder.ts';
import { podRequest, startWorld } from '../support/runpod-world.ts';

/**
 * What the REST v2 adapter sends and how it reads answers, by the specification's own shapes. Promises that both
 * adapters keep are in runpod-conformance.
 */

let recorder: Recorder;
let runpod: ReturnType<typeof createRunPodV2>;
beforeEach(async () => {
  recorder = await startRecorder();
  runpod = createRunPodV2({ apiUrl: recorder.url, apiKey: 'rpa_key', keepPodListMs: 0 });
});
afterEach(() => recorder.close());

const CREATE = { deadlineMs: 5_000 };
/** As the specification's example of a created pod. */
const aPod = (change: Record<string, unknown> = {}) => ({
  id: '7h9k2m4n6p',
  name: 'anneal-t-x',
  image: 'runpod/pytorch:1.0.2',
  args: '',
  disk: 50,
  ports: ['22/tcp'],
  env: { ANNEAL_SPEC_HASH: 'abc' },
  registry: null,
  status: 'PROVISIONING',
  actions: ['stop', 'terminate'],
  mounts: { persistent: { size: 20, path: '/workspace' } },
  gpu: { id: 'NVIDIA GeForce RTX 4090', count: 2 },
  cloud: 'SECURE',
  dataCenterId: 'US-KS-2',
  cudaVersion: '12.8',
  ssh: { proxy: null, direct: null },
  template: null,
  cost: 0.88,
  locked: false,
  globalNetworking: { enabled: false },
  runtime: {},
  createdAt: '2026-06-01T12:00:00Z',
  startedAt: null,
  ...change,
});
const problem = (status: number, detail: string, errors?: string[]) => ({
  title: 'Problem',
  status,
  detail,
  ...(errors ? { errors } : {}),
});
const sent = (): string[] => recorder.requests.map(({ method, path }) => `${method} ${path}`);

describe('pods', () => {
  test('a create says everything the request asks for', async () => {
    recorder.answer(201, aPod());
    const request = podRequest('anneal-t-x', {
      gpuCount: 2,
      minMemoryGb: 101,
      minCudaVersion: '12.8',
      dataCenterId: 'US-KS-2',
      env: { A: 'b' },
      startCommand: 'sleep 1',
    });
    expect(await runpod.createPod(request, CREATE)).toMatchObject({ kind: 'created' });
    expect(recorder.requests).toMatchObject([{ method: 'POST', headers: { authorization: 'Bearer rpa_key' } }]);
    expect(recorder.requests[0]?.body).toEqual({
      name: 'anneal-t-x',
      image: request.image,
      gpu: { id: request.gpuTypeId, count: 2, minRamPerGpu: 51, minCudaVersion: '12.8' },
      cloud: 'SECURE',
      dataCenterIds: ['US-KS-2'],
      disk: 40,
      mounts: { persistent: { size: 100, path: '/workspace' } },
      ports: ['22/tcp'],
      env: { A: 'b' },
      args: 'sleep 1',
    });
  });

  test('a schema that refuses the memory demand gets the create without it, from then on', async () => {
    recorder.answer(422, problem(422, 'Request validation failed.', ["$.gpu: property 'minRamPerGpu' not allowed"]));
    recorder.answer(201, aPod());
    recorder.answer(201, aPod());
    for (let count = 0; count < 2; count++) {
      expect(await runpod.createPod(podRequest('anneal-t-x'), CREATE)).toMatchObject({ kind: 'created' });
    }
    const demands = recorder.requests.map(({ body }) => (body as { gpu: object }).gpu);
    expect(demands.map((gpu) => 'minRamPerGpu' in gpu)).toEqual([true, false, false]);
  });

  test('any other refusal of the schema is not repeated, and says what is wrong', async () => {
    recorder.answer(422, problem(422, 'Request validation failed.', ['$.disk: must be at least 1']));
    const refused = runpod.createPod(podRequest('anneal-t-x'), CREATE);
    await expect(refused).rejects.toMatchObject({
      kind: 'refused',
      code: 'Invalid',
      message: 'RunPod createPod: Request validation failed.; $.disk: must be at least 1',
    });
    expect(recorder.requests).toHaveLength(1);
  });

  test.each([
    ['PROVISIONING', 0.88, 'RUNNING'],
    ['STARTING', 0.88, 'RUNNING'],
    ['RUNNING', 0.88, 'RUNNING'],
    ['EXITED', 0, 'EXITED'],
    ['TERMINATED', 0, 'TERMINATED'],
    ['ERROR', 0, 'EXITED'],
    ['ERROR', 0.88, 'RESTARTING'],
    ['SOMETHING_NEW', 0.88, 'RESTARTING'],
  ])('status %s at $%d is %s', async (status, cost, expected) => {
    const pod = aPod({ status, cost });
    recorder.answer(200, { pods: [pod] });
    recorder.answer(200, pod);
    expect(await runpod.getPod(pod.id)).toMatchObject({ desiredStatus: expected, costPerHour: cost * 1_000_000 });
  });

  test('the address is ssh.direct, whatever the status; host memory is not known', async () => {
    const direct = { host: '203.0.113.5', port: 10022, username: 'root', command: 'ssh …' };
    recorder.answer(200, { pods: [aPod({ status: 'RUNNING' }), aPod({ id: 'two', ssh: { proxy: null, direct } })] });
    const [first, second] = await runpod.listPods();
    expect(first).toMatchObject({ ssh: null, memoryGb: null, volumeGb: 20, gpuCount: 2 });
    expect(second?.ssh).toEqual({ host: '203.0.113.5', port: 10022 });
  });

  test('a row without its environment is read singly; one that is gone by then is left out', async () => {
    recorder.answer(200, {
      pods: [aPod(), aPod({ id: 'bare', env: undefined }), aPod({ id: 'gone', env: undefined })],
    });
    recorder.answer(200, aPod({ id: 'bare', env: { ANNEAL_SPEC_HASH: 'def' } }));
    recorder.answer(404, problem(404, 'pod not found'));
    expect((await runpod.listPods()).map(({ id, env }) => [id, env['ANNEAL_SPEC_HASH']])).toEqual([
      ['7h9k2m4n6p', 'abc'],
      ['bare', 'def'],
    ]);
  });

  test('a pod without GPU is a pod', async () => {
    recorder.answer(200, { pods: [aPod({ gpu: undefined, cpu: { id: 'cpu3c', vcpuCount: 2 } })] });
    expect(await runpod.listPods()).toMatchObject([{ gpuTypeId: null, gpuCount: 0 }]);
  });

  test('an id cannot lead to another address', async () => {
    recorder.answer(204, null);
    await runpod.terminatePod('../serverless/x');
    expect(sent()).toEqual(['DELETE /v2/pods/..%2Fserverless%2Fx']);
  });
});

describe('start never without GPUs', () => {
  test('a pod that came up with none is stopped again: no capacity', async () => {
    const world = await startWorld();
    const there = createRunPodV2({
      apiUrl: world.simulator.url,
      apiKey: 'rpa_account_key_for_tests',
      keepPodListMs: 0,
    });
    const created = await there.createPod(podRequest('anneal-t-zero-r20260101-000000'), CREATE);
    const id = created.kind === 'created' ? created.pod.id : '';
    await there.stopPod(id);
    world.simulator.faults.add({ target: 'runpod', operation: 'v2.pods.action.start', action: { kind: 'zeroGpus' } });
    expect(await there.startPod(id)).toEqual({ kind: 'noCapacity', message: expect.stringContaining('0 of 1 GPUs') });
    expect(await there.getPod(id)).toMatchObject({ desiredStatus: 'EXITED' });
    await world.close();
  });

  test('one that runs without any, since an answer was lost, is stopped as well', async () => {
    recorder.answer(200, aPod({ status: 'RUNNING', gpu: { id: 'NVIDIA A40', count: 0 } }));
    recorder.answer(200, aPod({ status: 'EXITED', cost: 0 }));
    expect(await runpod.startPod('7h9k2m4n6p')).toMatchObject({ kind: 'noCapacity' });
    expect(recorder.requests[1]).toMatchObject({ path: '/v2/pods/7h9k2m4n6p/action', body: { action: 'stop' } });
  });

  test('a conflict is success when the pod is where the action leads, and a refusal otherwise', async () => {
    recorder.answer(409, problem(409, 'cannot stop a pod in state EXITED'));
    recorder.answer(200, aPod({ status: 'EXITED', cost: 0 }));
    await runpod.stopPod('7h9k2m4n6p');
    recorder.answer(409, problem(409, 'cannot stop a pod in state ERROR'));
    recorder.answer(200, aPod({ status: 'ERROR' }));
    await expect(runpod.stopPod('7h9k2m4n6p')).rejects.toMatchObject({ kind: 'refused', httpStatus: 409 });
  });
});

describe('offers', () => {
  const gpu = (change: Record<string, unknown> = {}) => ({
    id: 'NVIDIA A40',
    name: 'A40',
    pool: 'AMPERE_48',
    manufacturer: 'NVIDIA',
    memory: 48,
    secure: true,
    community: true,
    price: { secure: 0.4, community: 0.35, serverless: 1.22 },
    maxCount: { secure: 10, community: 4 },
    availability: 'HIGH',
    dataCenters: [{ id: 'EU-RO-1', name: 'EU-RO-1', availability: 'LOW' }],
    ...change,
  });

  test('one request per cloud, with the count; a data centre that is not listed has no stock', async () => {
    recorder.answer(200, { gpus: [gpu(), gpu({ id: 'NVIDIA H200', secure: false })] });
    expect(
      await runpod.listOffers({ clouds: ['SECURE'], dataCenterIds: ['EU-RO-1', 'US-KS-2'], gpuCount: 2 }),
    ).toMatchObject([
      { gpuTypeId: 'NVIDIA A40', pricePerHour: 400_000, stock: 'Low', dataCenterId: 'EU-RO-1', maxGpuCount: 10 },
      { gpuTypeId: 'NVIDIA A40', pricePerHour: 400_000, stock: 'None', dataCenterId: 'US-KS-2', hostMemoryGb: null },
    ]);
    expect(sent()).toEqual(['GET /v2/catalog/gpus?include=AVAILABILITY&product=POD&count=2&cloud=SECURE']);
  });

  test('clouds have prices and limits of their own', async () => {
    recorder.answer(200, { gpus: [gpu()] });
    recorder.answer(200, { gpus: [gpu({ availability: 'NONE', dataCenters: undefined })] });
    const offers = await runpod.listOffers({ clouds: ['SECURE', 'COMMUNITY'], dataCenterIds: null, gpuCount: 1 });
    expect(offers.map(({ cloud }) => cloud).sort()).toEqual(['COMMUNITY', 'SECURE']);
    expect(offers.find(({ cloud }) => cloud === 'COMMUNITY')).toMatchObject({ pricePerHour: 350_000, maxGpuCount: 4 });
  });
});

describe('endpoints', () => {
  const TEMPLATE = { id: 'tpl1', name: 't', image: 'worker:1', disk: 150, args: '', env: { MODEL_REVISION: 'a' } };
  const anEndpoint = (change: Record<string, unknown> = {}) => ({
    id: 'ep1',
    name: 'anneal-t-tiny -fb',
    type: 'QUEUE',
    image: 'worker:1',
    disk: 150,
    args: '',
    env: { MODEL_REVISION: 'a', ANNEAL_TEMPLATE_ID: 'tpl1' },
    gpu: { pools: ['AMPERE_80'], excludedTypes: [], count: 1, allowedCudaVersions: [], minCudaVersion: '12.8' },
    workers: { min: 0, max: 2, idleTimeout: 60 },
    scaling: { type: 'QUEUE_DELAY', queueDelay: 4 },
    timeout: 600_000,
    flashboot: 'PRIORITY_FLASHBOOT',
    ...change,
  });
  const SETTINGS: EndpointSettings = {
    name: 'anneal-t-tiny',
    templateId: 'tpl1',
    gpuPools: 'AMPERE_80,-NVIDIA A100 80GB PCIe',
    gpuCount: 2,
    workersMin: 0,
    workersMax: 3,
    idleTimeoutSeconds: 60,
    executionTimeoutMs: 600_000,
    scalerType: 'QUEUE_DELAY',
    scalerValue: 15,
    flashBoot: false,
  };

  test('a create sends what the template says, and always timeout and flashboot', async () => {
    recorder.answer(200, TEMPLATE);
    recorder.answer(201, anEndpoint());
    await runpod.createEndpoint(SETTINGS, CREATE);
    expect(sent()).toEqual(['GET /v2/templates/tpl1', 'POST /v2/serverless']);
    expect(recorder.requests[1]?.body).toEqual({
      name: 'anneal-t-tiny',
      type: 'QUEUE',
      image: 'worker:1',
      disk: 150,
      args: '',
      env: { MODEL_REVISION: 'a', ANNEAL_TEMPLATE_ID: 'tpl1' },
      gpu: { pools: ['AMPERE_80'], excludedTypes: ['NVIDIA A100 80GB PCIe'], count: 2 },
      workers: { min: 0, max: 3, idleTimeout: 60 },
      scaling: { type: 'QUEUE_DELAY', queueDelay: 15 },
      timeout: 600_000,
      flashboot: 'OFF',
    });
  });

  test('the template is read within the deadline, and failing that nothing was made', async () => {
    recorder.answer(503, {});
    const failed = runpod.createEndpoint(SETTINGS, CREATE);
    await expect(failed).rejects.toMatchObject({ kind: 'unavailable', code: 'Server' });
    expect(sent()).toEqual(['GET /v2/templates/tpl1']);
  });

  test('an update of one setting sends the others back and leaves the container alone', async () => {
    recorder.answer(200, anEndpoint());
    recorder.answer(200, anEndpoint({ workers: { min: 0, max: 0, idleTimeout: 60 } }));
    expect(await runpod.updateEndpoint('ep1', { workersMax: 0 })).toMatchObject({
      name: 'anneal-t-tiny',
      templateId: 'tpl1',
      workersMax: 0,
      flashBoot: true,
    });
    expect(recorder.requests[1]?.body).toEqual({
      name: 'anneal-t-tiny',
      gpu: { pools: ['AMPERE_80'], excludedTypes: [], count: 1, minCudaVersion: '12.8' },
      workers: { min: 0, max: 0, idleTimeout: 60 },
      scaling: { type: 'QUEUE_DELAY', queueDelay: 4 },
      timeout: 600_000,
      flashboot: 'PRIORITY_FLASHBOOT',
    });
  });

  test('request count goes without an idle timeout, which v2 refuses there', async () => {
    recorder.answer(200, anEndpoint());
    recorder.answer(
      200,
      anEndpoint({ scaling: { type: 'REQUEST_COUNT', requestCount: 7 }, workers: { min: 0, max: 2 } }),
    );
    const change = { scalerType: 'REQUEST_COUNT', scalerValue: 7 } as const;
    expect(await runpod.updateEndpoint('ep1', change)).toMatchObject(change);
    expect(recorder.requests[1]?.body).toMatchObject({ workers: { min: 0, max: 2 } });
    expect(recorder.requests[1]?.body).not.toMatchObject({ workers: { idleTimeout: expect.anything() } });
  });

  test('an endpoint from GraphQL days finds the template whose values it runs', async () => {
    const old = anEndpoint({ env: { MODEL_REVISION: 'a' } });
    recorder.answer(200, { endpoints: [old, anEndpoint({ id: 'ep2', image: 'foreign', env: {} })] });
    recorder.answer(200, { templates: [{ ...TEMPLATE, id: 'other', env: { MODEL_REVISION: 'b' } }, TEMPLATE] });
    expect((await runpod.listEndpoints()).map(({ templateId }) => templateId)).toEqual(['tpl1', '']);
  });

  test('deleting is one request', async () => {
    recorder.answer(204, null);
    await runpod.deleteEndpoint('ep1');
    expect(sent()).toEqual(['DELETE /v2/serverless/ep1']);
  });
});

describe('account', () => {
  test.each([404, 410])('after GraphQL (HTTP %d) nothing is known of it, and nobody asks again', async (status) => {
    recorder.answer(status, {});
    const unknown = { balance: null, spendPerHour: null, spendLimitPerHour: null, workerQuota: null };
    expect(await runpod.account()).toEqual(unknown);
    expect(await runpod.account()).toEqual(unknown);
    expect(sent()).toEqual(['POST /graphql']);
  });

  test.each([502, 403])(
    'a GraphQL that answers %i is no fault of v2: nothing is said, and it is asked again',
    async (status) => {
      recorder.answer(status, {});
      const unknown = { balance: null, spendPerHour: null, spendLimitPerHour: null, workerQuota: null };
      expect(await runpod.account()).toEqual(unknown);
      await runpod.account();
      expect(sent()).toEqual(['POST /graphql', 'POST /graphql']);
    },
  );
});

test('a used-up window holds reads back, not what ends pods', async () => {
  const limits = { RateLimit: '"minute";r=0;t=60, "hour";r=2800;t=1812', 'RateLimit-Policy': '"minute";q=60;w=60' };
  recorder.answer(200, { pods: [] }, limits);
  await runpod.listPods();
  const held = runpod.createPod(podRequest('anneal-t-x'), { deadlineMs: 50 });
  recorder.answer(204, null);
  await runpod.terminatePod('any');
  await expect(held).rejects.toMatchObject({ code: 'NotSent' });
  expect(sent()).toEqual(['GET /v2/pods', 'DELETE /v2/pods/any']);
});
