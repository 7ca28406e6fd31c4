import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { createRunPodGraphql } from '../../services/runpod/graphql.ts';
import { RunPodError } from '../../services/runpod/errors.ts';
import { API_KEY, createPod, podRequest, startWorld, until, untilReachable } from '../support/runpod-world.ts';

let world: Awaited<ReturnType<typeof startWorld>>;
beforeAll(async () => {
  world = await startWorld({ initialBalanceUsd: 50 });
});
afterEach(async () => {
  world.simulator.faults.clear();
  for (const pod of await world.runpod.listPods()) await world.runpod.terminatePod(pod.id);
});
afterAll(async () => {
  await world.close();
});

const failureOf = async (action: Promise<unknown>): Promise<RunPodError> => {
  const error: unknown = await action.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof RunPodError)) throw new Error(`expected a RunPodError, got ${String(error)}`);
  return error;
};

describe('account and offers', () => {
  test('account shows balance, spending and limit', async () => {
    expect(await world.runpod.account()).toMatchObject({
      balance: 50_000_000,
      spendPerHour: 0,
      spendLimitPerHour: 80_000_000,
    });
  });

  test('offers carry exact prices, stock and host memory per cloud, without the unknown row', async () => {
    const offers = await world.runpod.listOffers({ clouds: ['SECURE', 'COMMUNITY'], dataCenterIds: null, gpuCount: 1 });
    expect(offers).toContainEqual({
      gpuTypeId: 'NVIDIA H100 80GB HBM3',
      displayName: 'H100 SXM',
      memoryGb: 80,
      cloud: 'SECURE',
      pricePerHour: 3_990_000,
      stock: 'High',
      dataCenterId: null,
      hostMemoryGb: 125,
      maxGpuCount: null,
    });
    expect(
      offers.find(({ gpuTypeId, cloud }) => gpuTypeId === 'NVIDIA H100 PCIe' && cloud === 'COMMUNITY')?.stock,
    ).toBe('None');
    expect(offers.some(({ gpuTypeId }) => gpuTypeId === 'unknown')).toBe(false);
    expect(offers.some(({ gpuTypeId, cloud }) => gpuTypeId === 'NVIDIA H200' && cloud === 'COMMUNITY')).toBe(false);
  });
});

describe('create', () => {
  test('a created pod is RUNNING without an address first, then reachable, and is billed', async () => {
    const pod = await createPod(world.runpod, podRequest('anneal-t-life-r20260101-000000'));
    expect(pod).toMatchObject({
      desiredStatus: 'RUNNING',
      ssh: null,
      costPerHour: 3_990_000,
      gpuCount: 1,
      memoryGb: 125,
    });
    expect(pod.env['ANNEAL_WORKSPACE']).toBe('/workspace');
    expect(pod.env['PUBLIC_KEY']).toContain('ssh-ed25519 ');
    await untilReachable(world.runpod, pod.id);
    expect((await world.runpod.account()).spendPerHour).toBeGreaterThanOrEqual(3_990_000);
  });

  test.each([
    ['no stock', { gpuTypeId: 'NVIDIA H100 PCIe', cloud: 'COMMUNITY' as const }],
    ['an unknown type', { gpuTypeId: 'NVIDIA H1000' }],
    ['more host memory than machines have', { minMemoryGb: 4000 }],
  ])('%s is the outcome noCapacity', async (_, change) => {
    const outcome = await world.runpod.createPod(podRequest('anneal-t-none-r20260101-000000', change), {
      deadlineMs: 5000,
    });
    expect(outcome.kind).toBe('noCapacity');
    expect(await world.runpod.listPods()).toEqual([]);
  });

  test('a scripted lack of capacity is the same outcome', async () => {
    world.simulator.faults.add({
      target: 'runpod',
      operation: 'podFindAndDeployOnDemand',
      action: { kind: 'noCapacity' },
    });
    const outcome = await world.runpod.createPod(podRequest('anneal-t-none-r20260101-000000'), { deadlineMs: 5000 });
    expect(outcome).toMatchObject({ kind: 'noCapacity', message: expect.stringContaining('no longer any instances') });
  });

  test('too little balance is refused', async () => {
    const setBalance = (usd: number) =>
      fetch(`${world.simulator.url}/_sim/balance`, { method: 'POST', body: JSON.stringify({ usd }) });
    await setBalance(1);
    const error = await failureOf(
      world.runpod.createPod(podRequest('anneal-t-poor-r20260101-000000'), { deadlineMs: 5000 }),
    );
    await setBalance(50);
    expect(error).toMatchObject({ kind: 'refused', code: 'InsufficientBalance' });
  });

  test('after a lost answer the create is uncertain and the list finds the pod', async () => {
    const name = 'anneal-t-lost-r20260101-000000';
    world.simulator.faults.add({
      target: 'runpod',
      operation: 'podFindAndDeployOnDemand',
      action: { kind: 'loseAnswer' },
    });
    const error = await failureOf(world.runpod.createPod(podRequest(name), { deadlineMs: 5000 }));
    expect(error).toMatchObject({ kind: 'uncertain', code: 'Network' });
    expect((await world.runpod.listPods()).map((pod) => pod.name)).toEqual([name]);
  });

  test('those who ask for the list at the same time share one request', async () => {
    const count = {
      target: 'runpod',
      operation: 'myself.pods',
      action: { kind: 'delay', ms: 50 },
      times: 100,
    } as const;
    world.simulator.faults.add(count);
    await Promise.all(Array.from({ length: 20 }, () => world.runpod.listPods()));
    expect(world.simulator.faults.list()).toMatchObject([{ times: 99 }]);
    await world.runpod.listPods();
    expect(world.simulator.faults.list()).toMatchObject([{ times: 98 }]);
  });

  test('names are not unique, and a lagging list hides a new pod while the pod itself is known', async () => {
    const request = podRequest('anneal-t-twin-r20260101-000000');
    const first = await createPod(world.runpod, request);
    await createPod(world.runpod, request);
    world.simulator.faults.add({ target: 'runpod', operation: 'myself.pods', action: { kind: 'lagList', ms: 60_000 } });
    expect(await world.runpod.listPods()).toEqual([]);
    expect(await world.runpod.listPods()).toHaveLength(2);
    expect((await world.runpod.getPod(first.id))?.name).toBe(request.name);
  });
});

describe('failures', () => {
  const fail = (status: number, extra: { body?: unknown; headers?: Record<string, string> } = {}, operation = '*') => {
    world.simulator.faults.add({ target: 'runpod', operation, action: { kind: 'status', status, ...extra } });
  };

  test('a wrong key is refused', async () => {
    const stranger = createRunPodGraphql({ apiUrl: world.simulator.url, apiKey: 'rpa_wrong' });
    expect(await failureOf(stranger.listPods())).toMatchObject({
      kind: 'refused',
      code: 'Unauthorized',
      httpStatus: 401,
    });
  });

  test.each([
    [403, 'refused', 'Forbidden'],
    [410, 'refused', 'Retired'],
    [500, 'unavailable', 'Server'],
    [502, 'unavailable', 'Server'],
  ])('HTTP %d on a read is %s/%s, whatever the body', async (status, kind, code) => {
    fail(status, { body: '<html>bad gateway</html>' });
    expect(await failureOf(world.runpod.listPods())).toMatchObject({ kind, code, httpStatus: status });
  });

  test('429 carries Retry-After and is not uncertain, even for a create', async () => {
    fail(429, { headers: { 'retry-after': '7' } });
    const error = await failureOf(
      world.runpod.createPod(podRequest('anneal-t-many-r20260101-000000'), { deadlineMs: 5000 }),
    );
    expect(error).toMatchObject({ kind: 'unavailable', code: 'RateLimited', retryAfterMs: 7000 });
  });

  test.each([
    ['5xx', { status: 503, body: 'busy' }],
    ['a 200 that is not JSON', { status: 200, body: '<html></html>' }],
    [
      'the generic text',
      {
        status: 200,
        body: { errors: [{ message: 'Something went wrong. Please try again later or contact support.' }], data: null },
      },
    ],
    [
      'a refusal of unknown wording',
      { status: 200, body: { errors: [{ message: 'Machine handshake lost', extensions: { code: 'RUNPOD' } }] } },
    ],
    ['an unexpected shape', { status: 200, body: { data: { podFindAndDeployOnDemand: { id: 7 } } } }],
    ['null without an error', { status: 200, body: { data: { podFindAndDeployOnDemand: null } } }],
  ])('%s to a create is uncertain', async (_, answer) => {
    fail(answer.status, { body: answer.body });
    const error = await failureOf(
      world.runpod.createPod(podRequest('anneal-t-odd-r20260101-000000'), { deadlineMs: 5000 }),
    );
    expect(error).toMatchObject({ kind: 'uncertain', code: 'Server' });
  });

  test.each([
    [
      'Your account balance is too low to rent a pod. Please add funds to your account.',
      'RUNPOD',
      'InsufficientBalance',
    ],
    ['Max workers across all endpoints must not exceed your workers quota (5).', 'RUNPOD', 'WorkerQuota'],
    ['template not found', 'RUNPOD', 'NotFound'],
    ['Not authorized to do this', 'RUNPOD', 'Forbidden'],
    ['Field "x" is not defined by type "Y"', 'GRAPHQL_VALIDATION_FAILED', 'Invalid'],
    ['Variable "$input" got a wrong value', 'BAD_USER_INPUT', 'Invalid'],
    ['volumeInGb must be at least 10', 'RUNPOD', 'Invalid'],
    ['Invalid image name', 'RUNPOD', 'Invalid'],
    ['name and imageName are required', 'RUNPOD', 'Invalid'],
  ])('"%s" to a create is refused: nothing was made', async (message, code, expected) => {
    fail(200, { body: { errors: [{ message, extensions: { code } }], data: null } });
    const error = await failureOf(
      world.runpod.createPod(podRequest('anneal-t-no-r20260101-000000'), { deadlineMs: 5000 }),
    );
    expect(error).toMatchObject({ kind: 'refused', code: expected });
  });

  test('an unknown wording to anything but a create is refused', async () => {
    fail(200, { body: { errors: [{ message: 'Machine handshake lost' }] } });
    expect(await failureOf(world.runpod.listPods())).toMatchObject({ kind: 'refused', code: 'Invalid' });
  });

  test('a create without an answer ends uncertain at its deadline', async () => {
    world.simulator.faults.add({ target: 'runpod', operation: '*', action: { kind: 'delay', ms: 400 } });
    const error = await failureOf(
      world.runpod.createPod(podRequest('anneal-t-slow-r20260101-000000'), { deadlineMs: 50 }),
    );
    expect(error).toMatchObject({ kind: 'uncertain', code: 'Timeout' });
    await until(async () => (await world.runpod.listPods()).length === 1);
  });

  test('no error text contains environment values or the key', async () => {
    const secret = 'value-that-must-not-leak';
    const request = podRequest('anneal-t-env-r20260101-000000', { env: { TOKEN: secret } });
    const bodies = [{ status: 500 }, { status: 200, body: { errors: [{ message: `bad env ${secret} ${API_KEY}` }] } }];
    for (const { status, body } of bodies) {
      fail(status, { body });
      const error = await failureOf(world.runpod.createPod(request, { deadlineMs: 5000 }));
      const text = `${error.message} ${String(error.stack)} ${JSON.stringify(error)} ${String(error.cause)}`;
      expect(text).not.toContain(secret);
      expect(text).not.toContain(API_KEY);
    }
  });
});

describe('stop and start', () => {
  const statusOf = async (podId: string) => (await world.runpod.getPod(podId))?.desiredStatus;

  test('a stopped pod costs its volume only, and runs again on its GPUs at another address', async () => {
    const pod = await createPod(world.runpod, podRequest('anneal-t-stop-r20260101-000000'));
    const before = await untilReachable(world.runpod, pod.id);
    await world.runpod.stopPod(pod.id);
    await world.runpod.stopPod(pod.id);
    expect(await world.runpod.getPod(pod.id)).toMatchObject({ desiredStatus: 'EXITED', ssh: null });
    // 100 GB at 0.20 USD per GB-month of 730 hours.
    expect((await world.runpod.account()).spendPerHour).toBe(27_397);
    expect(await world.runpod.startPod(pod.id)).toEqual({ kind: 'started' });
    expect(await world.runpod.startPod(pod.id)).toEqual({ kind: 'started' });
    expect(await world.runpod.getPod(pod.id)).toMatchObject({ desiredStatus: 'RUNNING', gpuCount: 1 });
    expect((await untilReachable(world.runpod, pod.id)).port).not.toBe(before.port);
  });

  test('a start whose GPU has been rented to somebody else is the outcome noCapacity; the pod stays stopped', async () => {
    const pod = await createPod(world.runpod, podRequest('anneal-t-lent-r20260101-000000'));
    await world.runpod.stopPod(pod.id);
    world.simulator.faults.add({ target: 'runpod', operation: 'podResume', action: { kind: 'noCapacity' } });
    expect(await world.runpod.startPod(pod.id)).toEqual({
      kind: 'noCapacity',
      message: expect.stringContaining('not enough free GPUs'),
    });
    expect(await statusOf(pod.id)).toBe('EXITED');
  });

  test('an unclear end may be repeated: neither makes anything new', async () => {
    const pod = await createPod(world.runpod, podRequest('anneal-t-again-r20260101-000000'));
    const lose = (operation: string) =>
      world.simulator.faults.add({ target: 'runpod', operation, action: { kind: 'loseAnswer' } });
    lose('podStop');
    expect(await failureOf(world.runpod.stopPod(pod.id))).toMatchObject({ kind: 'unavailable', code: 'Network' });
    lose('podResume');
    expect(await failureOf(world.runpod.startPod(pod.id))).toMatchObject({ kind: 'unavailable', code: 'Network' });
    expect(await statusOf(pod.id)).toBe('RUNNING');
  });

  test('an unknown pod can be neither stopped nor started', async () => {
    expect(await failureOf(world.runpod.stopPod('neverthere'))).toMatchObject({ kind: 'refused', code: 'NotFound' });
    expect(await failureOf(world.runpod.startPod('neverthere'))).toMatchObject({ kind: 'refused', code: 'NotFound' });
  });
});

describe('terminate', () => {
  test('a terminated pod is unknown afterwards; an unknown pod counts as terminated', async () => {
    const pod = await createPod(world.runpod, podRequest('anneal-t-end-r20260101-000000'));
    await world.runpod.terminatePod(pod.id);
    expect(await world.runpod.getPod(pod.id)).toBeNull();
    await world.runpod.terminatePod(pod.id);
    await world.runpod.terminatePod('neverthere');
    expect((await world.runpod.account()).spendPerHour).toBe(0);
  });

  test('a pod that is taken away is gone for reads and lists', async () => {
    const pod = await createPod(world.runpod, podRequest('anneal-t-away-r20260101-000000'));
    await untilReachable(world.runpod, pod.id);
    await fetch(`${world.simulator.url}/_sim/pods/${pod.id}/take-away`, { method: 'POST' });
    expect(await world.runpod.getPod(pod.id)).toBeNull();
    expect(await world.runpod.listPods()).toEqual([]);
  });
});
