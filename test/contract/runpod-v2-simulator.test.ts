import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { API_KEY, podRequest, startWorld, until } from '../support/runpod-world.ts';

/** REST v2 of the simulator over plain HTTP: every route, its shapes and its refusals. */

const H100 = 'NVIDIA H100 80GB HBM3';
let world: Awaited<ReturnType<typeof startWorld>>;
beforeAll(async () => {
  world = await startWorld({ initialBalanceUsd: 150 });
});
afterEach(async () => {
  world.simulator.faults.clear();
  await sim('balance', { usd: 150 });
  const { pods } = (await call('GET', '/pods')).body as { pods: { id: string }[] };
  for (const { id } of pods) await call('DELETE', `/pods/${id}`);
  const { endpoints } = (await call('GET', '/serverless')).body as { endpoints: { id: string }[] };
  for (const { id } of endpoints) await call('DELETE', `/serverless/${id}`);
});
afterAll(async () => {
  await world.close();
});

interface Answer {
  status: number;
  headers: Headers;
  body: Record<string, unknown>;
}

async function call(method: string, path: string, body?: unknown, key: string | null = API_KEY): Promise<Answer> {
  const response = await fetch(`${world.simulator.url}/v2${path}`, {
    method,
    headers: {
      ...(key === null ? {} : { authorization: `Bearer ${key}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  const parsed = (text === '' ? {} : JSON.parse(text)) as Record<string, unknown>;
  return { status: response.status, headers: response.headers, body: parsed };
}
const sim = (path: string, body: unknown) =>
  fetch(`${world.simulator.url}/_sim/${path}`, { method: 'POST', body: JSON.stringify(body) });

async function graphql(query: string): Promise<{ data: Record<string, never>; errors?: { message: string }[] }> {
  const response = await fetch(`${world.simulator.url}/graphql`, {
    method: 'POST',
    headers: { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query }),
  });
  return (await response.json()) as never;
}

/** A problem of RFC 9457 with this status. */
function problem(status: number, detail: string | RegExp) {
  return {
    status,
    body: expect.objectContaining({ title: expect.any(String), status, detail: expect.stringMatching(detail) }),
  };
}

const podBody = (name: string, change: object = {}) => {
  const { env, startCommand } = podRequest(name);
  return {
    name,
    image: 'runpod/pytorch:1.0.2-cu1281-torch291-ubuntu2204',
    args: startCommand,
    gpu: { id: H100, count: 1, minRamPerGpu: 100, minCudaVersion: '12.8' },
    cloud: 'SECURE',
    disk: 40,
    mounts: { persistent: { size: 100, path: '/workspace' } },
    ports: ['22/tcp'],
    env,
    ...change,
  };
};
async function createPod(change: object = {}): Promise<string> {
  const { status, body } = await call('POST', '/pods', podBody('anneal-t-v2-r20260101-000000', change));
  expect(status).toBe(201);
  return body['id'] as string;
}
const reachable = (id: string) =>
  until(async () => {
    const { body } = await call('GET', `/pods/${id}`);
    return (body['ssh'] as { direct: { host: string; port: number } | null }).direct;
  });

const endpointBody = (change: object = {}) => ({
  name: 'anneal-t-v2',
  type: 'QUEUE',
  scaling: { type: 'QUEUE_DELAY', queueDelay: 4 },
  image: 'runpod/worker-v1-vllm:v2.25.2',
  gpu: { pools: ['AMPERE_80'], excludedTypes: ['NVIDIA A100 80GB PCIe'], count: 1 },
  workers: { min: 0, max: 2, idleTimeout: 60 },
  env: { MODEL_NAME: 'org/model' },
  ...change,
});

describe('who may ask', () => {
  test('without a key, with a wrong one: 401 as a problem, without limits', async () => {
    const missing = await call('GET', '/pods', undefined, null);
    expect(missing).toMatchObject(problem(401, 'missing bearer token'));
    expect(missing.headers.get('content-type')).toBe('application/problem+json');
    expect(missing.headers.get('ratelimit')).toBeNull();
    expect(await call('GET', '/pods', undefined, 'rpa_other')).toMatchObject(problem(401, /bearer token/));
  });

  test('what is under a reserved segment and no route is 404; the job API keeps its own', async () => {
    expect(await call('GET', '/pods/x/nothing')).toMatchObject(problem(404, 'no such route'));
    const job = await fetch(`${world.simulator.dataPlaneUrl}/unknown/health`, { headers: { authorization: API_KEY } });
    expect([job.status, job.headers.get('content-type')]).toEqual([404, 'application/json']);
  });

  test("a pod's own key reads, stops and ends its pod, nothing else", async () => {
    const [mine, other] = [await createPod(), await createPod()];
    const key = world.simulator.fleet.get(mine)!.apiKey;
    expect((await call('GET', `/pods/${mine}`, undefined, key)).status).toBe(200);
    for (const [method, path] of [
      ['GET', '/pods'],
      ['GET', `/pods/${other}`],
      ['DELETE', `/pods/${other}`],
      ['GET', '/serverless'],
    ] as const) {
      expect(await call(method, path, undefined, key)).toMatchObject(problem(403, 'access denied'));
    }
    expect((await call('POST', `/pods/${mine}/action`, { action: 'stop' }, key)).status).toBe(200);
    expect((await call('POST', `/pods/${mine}/action`, { action: 'terminate' }, key)).status).toBe(204);
  });
});

describe('pods', () => {
  test('create answers 201 with RUNNING and neither runtime nor direct SSH; then both are there', async () => {
    const created = await call('POST', '/pods', podBody('anneal-t-v2-r20260101-000000'));
    expect(created.status).toBe(201);
    const { id } = created.body as { id: string };
    expect(created.body).toMatchObject({
      name: 'anneal-t-v2-r20260101-000000',
      status: 'RUNNING',
      runtime: null,
      actions: ['stop', 'restart', 'terminate'],
      cost: 3.99,
      cloud: 'SECURE',
      gpu: { id: H100, count: 1 },
      disk: 40,
      mounts: { persistent: { size: 100, path: '/workspace' } },
      ports: ['22/tcp'],
      env: { ANNEAL_WORKSPACE: '/workspace' },
      template: null,
      registry: null,
      locked: false,
      ssh: { proxy: { host: 'ssh.runpod.io', port: 22 }, direct: null },
    });
    const direct = await reachable(id);
    const { body } = await call('GET', `/pods/${id}`);
    expect(body).toMatchObject({
      status: 'RUNNING',
      runtime: { ports: expect.arrayContaining([{ private: 22, public: direct.port, type: 'tcp', ip: direct.host }]) },
    });
    expect((await call('GET', '/pods')).body).toMatchObject({ pods: [{ id }] });
    // One world: GraphQL has the same pod.
    const seen = await graphql(`{ pod(input: { podId: "${id}" }) { id env costPerHr dockerArgs } }`);
    expect(seen.data).toMatchObject({ pod: { id, costPerHr: 3.99, dockerArgs: podRequest('x').startCommand } });
  });

  test('the documented states instead of the observed ones, when a test wants them', async () => {
    await sim('readings', { podStatus: 'documented' });
    const created = await call('POST', '/pods', podBody('anneal-t-v2-r20260101-000000'));
    expect(created.body['status']).toBe('PROVISIONING');
    await reachable(created.body['id'] as string);
    expect((await call('GET', `/pods/${created.body['id'] as string}`)).body['status']).toBe('RUNNING');
    await sim('readings', { podStatus: 'observed' });
  });

  test('actions: stop, start, restart, terminate; what the state does not allow is 409', async () => {
    const id = await createPod();
    const first = await reachable(id);
    const act = (action: string) => call('POST', `/pods/${id}/action`, { action });
    expect(await act('start')).toMatchObject(problem(409, /RUNNING/));
    expect((await act('stop')).body).toMatchObject({
      status: 'EXITED',
      runtime: null,
      ssh: { direct: null },
      actions: ['start', 'terminate'],
      startedAt: null,
    });
    expect(await act('stop')).toMatchObject(problem(409, /EXITED/));
    expect(await act('restart')).toMatchObject(problem(409, /EXITED/));
    expect((await act('start')).body).toMatchObject({ status: 'RUNNING', runtime: null });
    const second = await reachable(id);
    expect(second.port).not.toBe(first.port);
    expect((await act('restart')).body).toMatchObject({ status: 'RUNNING', runtime: null });
    expect((await reachable(id)).port).not.toBe(second.port);
    expect((await act('terminate')).status).toBe(204);
    expect(await call('GET', `/pods/${id}`)).toMatchObject(problem(404, 'pod not found'));
    expect(await call('DELETE', `/pods/${id}`)).toMatchObject(problem(404, 'pod not found'));
    expect(await act('stop')).toMatchObject(problem(404, 'pod not found'));
  });

  test('a resume refused for want of GPUs is 400', async () => {
    const id = await createPod();
    await call('POST', `/pods/${id}/action`, { action: 'stop' });
    world.simulator.faults.add({ target: 'runpod', operation: 'v2.pods.action.start', action: { kind: 'noCapacity' } });
    expect(await call('POST', `/pods/${id}/action`, { action: 'start' })).toMatchObject(
      problem(400, /not enough free GPUs on the host/),
    );
  });

  test('PATCH: a name is a name; an image is a new container; a volume grows only', async () => {
    const id = await createPod();
    const { port } = await reachable(id);
    const renamed = await call('PATCH', `/pods/${id}`, { name: 'other', locked: true });
    expect(renamed.body).toMatchObject({ name: 'other', locked: true, ssh: { direct: { port } } });
    const changed = await call('PATCH', `/pods/${id}`, {
      image: 'runpod/base:1',
      mounts: { persistent: { size: 120, path: '/workspace' } },
      env: { A: 'b' },
    });
    expect(changed.body).toMatchObject({
      image: 'runpod/base:1',
      env: { A: 'b' },
      runtime: null,
      mounts: { persistent: { size: 120, path: '/workspace' } },
    });
    expect((await reachable(id)).port).not.toBe(port);
    expect(await call('PATCH', `/pods/${id}`, { mounts: { persistent: { size: 50 } } })).toMatchObject(
      problem(400, /only grow/),
    );
  });

  test('422 names what is wrong in the body', async () => {
    const errorsOf = async (change: object) => {
      const answer = await call('POST', '/pods', podBody('x', change));
      expect(answer).toMatchObject(problem(422, /validation failed/));
      return answer.body['errors'];
    };
    expect(await errorsOf({ cloud: 'ALL' })).toEqual(['$.cloud: value must be one of "SECURE", "COMMUNITY"']);
    expect(await errorsOf({ image: undefined })).toEqual(['$.image: required unless templateId is given']);
    expect(await errorsOf({ gpus: [] })).toEqual(['$.gpus: unknown property']);
    expect(await errorsOf({ mounts: { persistent: { size: 5, path: '/workspace' } } })).toEqual([
      expect.stringContaining('$.mounts.persistent.size'),
    ]);
    expect(await errorsOf({ ports: ['22'] })).toEqual([expect.stringContaining('$.ports[0]')]);
    const id = await createPod();
    const action = await call('POST', `/pods/${id}/action`, { action: 'pause' });
    expect(action.body['errors']).toEqual(['$.action: value must be one of "start", "stop", "restart", "terminate"']);
    expect(await call('POST', `/pods/${id}/action`)).toMatchObject(problem(400, /JSON/));
  });

  test('what contradicts itself is 400', async () => {
    const refused = async (change: object, detail: RegExp) => {
      expect(await call('POST', '/pods', podBody('x', change))).toMatchObject(problem(400, detail));
    };
    await refused({ gpu: undefined }, /exactly one of gpu and cpu/);
    await refused({ cpu: { id: 'cpu3c', vcpuCount: 2 } }, /exactly one of gpu and cpu/);
    await refused({ gpu: undefined, cpu: { id: 'cpu3c', vcpuCount: 2 } }, /mounts.persistent/);
    await refused({ gpu: { id: H100, minCudaVersion: '12.8', allowedCudaVersions: ['12.8'] } }, /mutually exclusive/);
  });

  test('a locked pod cannot be stopped; a wrong method is 405', async () => {
    const id = await createPod();
    await call('PATCH', `/pods/${id}`, { locked: true });
    expect(await call('POST', `/pods/${id}/action`, { action: 'stop' })).toMatchObject(problem(409, /locked/));
    const put = await call('PUT', `/pods/${id}`, {});
    expect(put).toMatchObject(problem(405, /not allowed/));
    expect(put.headers.get('allow')).toBe('GET, PATCH, DELETE');
  });

  test('no capacity is 400, no funds 402, an unknown template 404', async () => {
    const create = (change: object = {}) => call('POST', '/pods', podBody('x', change));
    expect(await create({ gpu: { id: 'NVIDIA H1000', count: 1 } })).toMatchObject(
      problem(400, /no longer any instances/),
    );
    expect(await create({ gpu: { id: H100, minRamPerGpu: 5000 } })).toMatchObject(problem(400, /no longer any/));
    world.simulator.faults.add({ target: 'runpod', operation: 'v2.pods.create', action: { kind: 'noCapacity' } });
    expect(await create()).toMatchObject(problem(400, /no longer any instances/));
    await sim('balance', { usd: 1 });
    expect(await create()).toMatchObject(problem(402, /balance is too low/));
    await sim('balance', { usd: 150 });
    expect(await create({ image: undefined, templateId: 'none' })).toMatchObject(problem(404, 'template not found'));
    expect((await call('GET', '/pods')).body).toEqual({ pods: [] });
  });

  test('a lost answer leaves the pod; a lagging list does not show it yet', async () => {
    const { faults } = world.simulator;
    faults.add({ target: 'runpod', operation: 'v2.pods.create', action: { kind: 'loseAnswer' } });
    await expect(call('POST', '/pods', podBody('anneal-t-lost'))).rejects.toThrow();
    faults.add({ target: 'runpod', operation: 'v2.pods.list', action: { kind: 'lagList', ms: 60_000 } });
    expect((await call('GET', '/pods')).body).toEqual({ pods: [] });
    expect((await call('GET', '/pods')).body).toMatchObject({ pods: [{ name: 'anneal-t-lost' }] });
    faults.add({ target: 'runpod', operation: 'v2.pods', action: { kind: 'status', status: 503, body: 'overloaded' } });
    const answer = await fetch(`${world.simulator.url}/v2/pods`, { headers: { authorization: `Bearer ${API_KEY}` } });
    expect([answer.status, await answer.text()]).toEqual([503, 'overloaded']);
  });

  test("startSsh gives the container the account's keys; without any it does nothing", async () => {
    const { PUBLIC_KEY: key, ...env } = podRequest('anneal-t-account').env;
    expect((await call('PUT', '/account/ssh-keys', { keys: [key] })).body).toEqual({ keys: [key] });
    expect((await graphql('{ myself { pubKey } }')).data).toEqual({ myself: { pubKey: key } });
    const id = await createPod({ env, startSsh: true });
    const target = { podName: 'anneal-t-account', address: await reachable(id), pinnedHostKey: null };
    expect((await world.ssh.exec(target, 'echo in', { timeoutMs: 20_000 })).stdout).toBe('in\n');
    await call('PUT', '/account/ssh-keys', { keys: [] });
    expect((await call('GET', '/account/ssh-keys')).body).toEqual({ keys: [] });
    const shut = await createPod({ env, startSsh: true });
    const refused = world.ssh.exec({ ...target, address: await reachable(shut) }, 'true', { timeoutMs: 20_000 });
    await expect(refused).rejects.toMatchObject({ kind: 'authentication' });
    expect((await call('PUT', '/account/ssh-keys', { keys: ['no key'] })).status).toBe(422);
  });

  test('a CPU pod', async () => {
    const { status, body } = await call(
      'POST',
      '/pods',
      podBody('x', { gpu: undefined, mounts: undefined, cpu: { id: 'cpu3c', vcpuCount: 2 } }),
    );
    expect(status).toBe(201);
    expect(body).toMatchObject({ cpu: { id: 'cpu3c', vcpuCount: 2, memory: 4 } });
    expect(body).not.toHaveProperty('gpu');
  });

  test('logs come as events: what was written, then what comes, until the pod is gone', async () => {
    const id = await createPod({ args: "sh -c 'echo from the container; exec /start.sh'" });
    await reachable(id);
    const response = await fetch(`${world.simulator.url}/v2/pods/${id}/logs`, {
      headers: { authorization: `Bearer ${API_KEY}` },
    });
    expect(response.headers.get('content-type')).toContain('text/event-stream');
    void call('POST', `/pods/${id}/action`, { action: 'stop' }).then(() => call('DELETE', `/pods/${id}`));
    const lines = (await response.text())
      .split('\n')
      .filter((line) => line.startsWith('data: '))
      .map((line) => JSON.parse(line.slice(6)) as { source: string; line: string; ts: string });
    expect(lines).toContainEqual({ source: 'container', line: 'from the container', ts: expect.any(String) });
    expect(lines.map(({ line }) => line)).toContain('stop container');
    expect(new Set(lines.map(({ source }) => source))).toEqual(new Set(['container', 'system']));
    expect(lines.every(({ ts }) => !Number.isNaN(Date.parse(ts)))).toBe(true);
  });
});

describe('serverless', () => {
  const create = async (change: object = {}) => {
    const answer = await call('POST', '/serverless', endpointBody(change));
    expect(answer.status).toBe(201);
    return answer.body as { id: string } & Record<string, unknown>;
  };

  test('create with an inline image; timeout and flashboot are 0 and OFF unless sent; request URLs', async () => {
    const endpoint = await create();
    expect(endpoint).toMatchObject({
      name: 'anneal-t-v2',
      type: 'QUEUE',
      scaling: { type: 'QUEUE_DELAY', queueDelay: 4 },
      workers: { min: 0, max: 2, idleTimeout: 60 },
      gpu: { pools: ['AMPERE_80'], excludedTypes: ['NVIDIA A100 80GB PCIe'], count: 1 },
      env: { MODEL_NAME: 'org/model' },
      timeout: 0,
      flashboot: 'OFF',
    });
    const { health } = endpoint['requestUrls'] as { health: string };
    const answer = await fetch(health, { headers: { authorization: `Bearer ${API_KEY}` } });
    expect(answer.status).toBe(200);
    const sent = await create({ timeout: 900_000, flashboot: 'FLASHBOOT', name: 'anneal-t-two' });
    expect(sent).toMatchObject({ timeout: 900_000, flashboot: 'FLASHBOOT', name: 'anneal-t-two' });
    const seen = await graphql(`{ myself { endpoint(id: "${sent.id}") { gpuIds executionTimeoutMs flashBootType } } }`);
    expect(seen.data).toEqual({
      myself: {
        endpoint: {
          gpuIds: 'AMPERE_80,-NVIDIA A100 80GB PCIe',
          executionTimeoutMs: 900_000,
          flashBootType: 'FLASHBOOT',
        },
      },
    });
    const { endpoints } = (await call('GET', '/serverless')).body as { endpoints: { id: string }[] };
    expect(endpoints.map(({ id }) => id).sort()).toEqual([endpoint.id, sent.id].sort());
  });

  test("template values are copied; the template's later edits do not reach the endpoint; the body wins by name", async () => {
    const template = await call('POST', '/templates', {
      name: 'anneal-t-copied',
      image: 'i:1',
      env: { A: '1', B: '1' },
      serverless: true,
    });
    const templateId = template.body['id'] as string;
    const endpoint = await create({ image: undefined, templateId, env: { B: '2' } });
    expect(endpoint).toMatchObject({ image: 'i:1', env: { A: '1', B: '2' } });
    expect((await call('PATCH', `/templates/${templateId}`, { image: 'i:2' })).body).toMatchObject({ image: 'i:2' });
    expect((await call('GET', `/serverless/${endpoint.id}`)).body).toMatchObject({ image: 'i:1' });
    expect((await call('DELETE', `/templates/${templateId}`)).status).toBe(204);
    // The endpoint's own copy is no template of the account, and goes with the endpoint.
    expect((await call('GET', '/templates')).body).toEqual({ templates: [] });
    expect(world.simulator.state().templates).toHaveLength(1);
    expect((await call('DELETE', `/serverless/${endpoint.id}`)).status).toBe(204);
    expect(world.simulator.state().templates).toHaveLength(0);
  });

  test('PATCH leaves what is not sent, and a new image is a release with its difference', async () => {
    const { id } = await create();
    const scaled = await call('PATCH', `/serverless/${id}`, { workers: { max: 1 } });
    expect(scaled.body).toMatchObject({ workers: { min: 0, max: 1, idleTimeout: 60 }, gpu: { pools: ['AMPERE_80'] } });
    await call('PATCH', `/serverless/${id}`, {
      image: 'runpod/worker-v1-vllm:v2.25.3',
      env: { MODEL_REVISION: 'abc' },
    });
    const { body } = await call('GET', `/serverless/${id}/releases`);
    expect(body).toMatchObject({
      rollout: { inProgress: false, workersOnLatest: 0, workersTotal: 0, percentOnLatest: 100 },
      releases: [{ version: 3 }, { version: 1, diff: [] }],
    });
    const [{ diff }] = (body as { releases: [{ diff: unknown[] }] }).releases;
    expect(diff).toContainEqual({
      field: 'image',
      old: 'runpod/worker-v1-vllm:v2.25.2',
      new: 'runpod/worker-v1-vllm:v2.25.3',
    });
    expect(diff).toContainEqual({ field: 'env.MODEL_REVISION', old: null, new: 'abc' });
    expect((await call('GET', `/serverless/${id}`)).body).toMatchObject({
      env: { MODEL_REVISION: 'abc' },
    });
  });

  test('PATCH of a part of gpu keeps the rest; a template is applied once, its variables merged with the body', async () => {
    const { id } = await create();
    const cuda = await call('PATCH', `/serverless/${id}`, { gpu: { minCudaVersion: '12.8' } });
    expect(cuda.body).toMatchObject({ gpu: { pools: ['AMPERE_80'], count: 1, minCudaVersion: '12.8' } });
    expect(await call('PATCH', `/serverless/${id}`, { gpu: { excludedTypes: ['NVIDIA A40'] } })).toMatchObject(
      problem(400, /requires gpu.pools/),
    );
    const template = await call('POST', '/templates', {
      name: 'anneal-t-applied',
      image: 'i:9',
      env: { A: '1', B: '1' },
    });
    const templateId = template.body['id'] as string;
    expect((await call('PATCH', `/serverless/${id}`, { templateId })).status).toBe(422);
    await call('PATCH', `/templates/${templateId}`, { serverless: true });
    const applied = await call('PATCH', `/serverless/${id}`, { templateId, env: { B: '2' } });
    expect(applied.body).toMatchObject({ image: 'i:9', env: { A: '1', B: '2' } });
    expect(applied.body['env']).not.toHaveProperty('MODEL_NAME');
    expect((await call('DELETE', `/templates/${templateId}`)).status).toBe(204);
  });

  test('an idle timeout means nothing where requests are counted', async () => {
    const counted = { scaling: { type: 'REQUEST_COUNT', requestCount: 1 } };
    expect(await call('POST', '/serverless', endpointBody(counted))).toMatchObject(problem(400, /idleTimeout/));
    const endpoint = await create({ ...counted, workers: { min: 0, max: 1 } });
    expect(endpoint).toMatchObject({ workers: { min: 0, max: 1 }, scaling: counted.scaling });
    expect(endpoint['workers']).not.toHaveProperty('idleTimeout');
  });

  test('DELETE needs no drain and takes the jobs with it', async () => {
    const { id } = await create({ workers: { min: 0, max: 2, idleTimeout: 60 } });
    const job = await fetch(`${world.simulator.dataPlaneUrl}/${id}/run`, {
      method: 'POST',
      headers: { authorization: `Bearer ${API_KEY}` },
      body: JSON.stringify({ input: { prompt: 'x' } }),
    });
    const { id: jobId } = (await job.json()) as { id: string };
    expect((await call('DELETE', `/serverless/${id}`)).status).toBe(204);
    expect(await call('DELETE', `/serverless/${id}`)).toMatchObject(problem(404, 'endpoint not found'));
    const status = await fetch(`${world.simulator.dataPlaneUrl}/${id}/status/${jobId}`, {
      headers: { authorization: `Bearer ${API_KEY}` },
    });
    expect(status.status).toBe(404);
    expect(world.simulator.state().jobs).toEqual([]);
  });

  test('the quota is 400, a wrong body 422', async () => {
    expect(await call('POST', '/serverless', endpointBody({ workers: { max: 50 } }))).toMatchObject(
      problem(400, /workers quota \(10\)/),
    );
    expect(world.simulator.state().templates).toHaveLength(0);
    const wrong = await call(
      'POST',
      '/serverless',
      endpointBody({ scaling: { type: 'QUEUE_DELAY', queueDelay: 0.1 } }),
    );
    expect(wrong).toMatchObject(problem(422, /validation failed/));
    expect(wrong.body['errors']).toEqual([expect.stringContaining('$.scaling.queueDelay')]);
  });

  test('workers with their summary, and their logs', async () => {
    const { id } = await create({ workers: { min: 1, max: 1, idleTimeout: 60 }, env: { MODEL_NAME: '' } });
    // Without a model the worker's engine cannot start: it crashes and is tried again.
    const worker = await until(async () => {
      const { workers } = (await call('GET', `/serverless/${id}/workers`)).body as {
        workers: { id: string; status: string }[];
      };
      return workers.find(({ status }) => status === 'UNHEALTHY');
    });
    expect(worker).toMatchObject({
      isStale: false,
      version: 1,
      gpuCount: 1,
      gpuTypeId: 'NVIDIA A100-SXM4-80GB',
      image: 'runpod/worker-v1-vllm:v2.25.2',
      dataCenterId: expect.any(String),
      uptimeSeconds: expect.any(Number),
      startedAt: expect.any(String),
    });
    const { body } = await call('GET', `/serverless/${id}/workers`);
    expect(body).toMatchObject({ endpointVersion: 1, summary: { total: 1, running: 0, throttled: 0 } });
    const response = await fetch(`${world.simulator.url}/v2/serverless/${id}/workers/${worker.id}/logs`, {
      headers: { authorization: `Bearer ${API_KEY}` },
    });
    await call('DELETE', `/serverless/${id}`);
    expect(await response.text()).toContain('MODEL_NAME is not set');
    expect(await call('GET', `/serverless/${id}/workers`)).toMatchObject(problem(404, 'endpoint not found'));
  });
});

test('templates: create, read, change, delete; one in use is 400, a taken name 400', async () => {
  const created = await call('POST', '/templates', {
    name: 'anneal-t-template',
    image: 'i:1',
    disk: 20,
    ports: ['22/tcp'],
    mounts: { persistent: { size: 30, path: '/workspace' } },
    allowedCudaVersions: ['12.8'],
  });
  expect(created).toMatchObject({ status: 201, body: { disk: 20, category: 'NVIDIA', public: false } });
  const id = created.body['id'] as string;
  expect(await call('POST', '/templates', { name: 'anneal-t-template', image: 'i' })).toMatchObject(
    problem(400, /unique/),
  );
  expect((await call('GET', `/templates/${id}`)).body).toEqual(created.body);
  const pod = await call('POST', '/pods', { name: 'x', templateId: id, gpu: { id: H100 } });
  expect(pod.body).toMatchObject({ image: 'i:1', disk: 20, template: null, mounts: { persistent: { size: 30 } } });
  // GraphQL's pods keep their link to the template.
  const linked = await graphql(
    `mutation { podFindAndDeployOnDemand(input: { name: "x", gpuTypeId: "${H100}", templateId: "${id}" }) { id } }`,
  );
  expect(await call('DELETE', `/templates/${id}`)).toMatchObject(problem(400, /in use/));
  await call('DELETE', `/pods/${(linked.data['podFindAndDeployOnDemand'] as unknown as { id: string }).id}`);
  expect((await call('DELETE', `/templates/${id}`)).status).toBe(204);
  expect(await call('GET', `/templates/${id}`)).toMatchObject(problem(404, 'template not found'));
});

test('network volumes: sizes, growth, in use, deletion', async () => {
  const create = (size: number) => call('POST', '/network-volumes', { name: 'v', size, dataCenter: 'EU-RO-1' });
  expect(await create(9)).toMatchObject(problem(422, /validation failed/));
  const created = await create(20);
  expect(created).toMatchObject({ status: 201, body: { size: 20, dataCenter: 'EU-RO-1', type: 'STANDARD' } });
  const id = created.body['id'] as string;
  expect((await call('GET', '/network-volumes')).body).toMatchObject({ networkVolumes: [{ id }] });
  expect((await call('PATCH', `/network-volumes/${id}`, { size: 30 })).body).toMatchObject({ size: 30 });
  expect(await call('PATCH', `/network-volumes/${id}`, { size: 20 })).toMatchObject(problem(400, /only grow/));
  const pod = await createPod({ mounts: { network: [{ volumeId: id, path: '/workspace' }] } });
  expect((await call('GET', `/pods/${pod}`)).body).toMatchObject({
    dataCenterId: 'EU-RO-1',
    mounts: { network: [{ volumeId: id, path: '/workspace' }] },
  });
  expect(await call('DELETE', `/network-volumes/${id}`)).toMatchObject(problem(400, /in use/));
  await call('DELETE', `/pods/${pod}`);
  expect((await call('DELETE', `/network-volumes/${id}`)).status).toBe(204);
  expect(await call('GET', `/network-volumes/${id}`)).toMatchObject(problem(404, /not found/));
});

test('registries never show passwords', async () => {
  const created = await call('POST', '/registries', { name: 'r', username: 'u', password: 'hidden' });
  expect(created).toMatchObject({ status: 201, body: { name: 'r' } });
  const list = await call('GET', '/registries');
  expect(list.body).toMatchObject({ registries: [{ name: 'r' }] });
  expect(JSON.stringify([created.body, list.body])).not.toContain('hidden');
  const id = created.body['id'] as string;
  expect((await call('GET', `/registries/${id}`)).body).toMatchObject({ id });
  expect((await call('DELETE', `/registries/${id}`)).status).toBe(204);
  expect(await call('DELETE', `/registries/${id}`)).toMatchObject(problem(404, /not found/));
});

describe('catalog', () => {
  interface Gpu {
    id: string;
    availability?: string;
    dataCenters?: { id: string; availability: string }[];
  }
  const gpu = async (query: string, id = H100): Promise<Gpu> => {
    const { gpus } = (await call('GET', `/catalog/gpus${query}`)).body as unknown as { gpus: Gpu[] };
    return gpus.find((row) => row.id === id)!;
  };

  test('GPUs with prices; stock only when asked for, per product and data centre', async () => {
    expect(await gpu('')).toEqual({
      id: H100,
      name: 'H100 SXM',
      pool: 'ADA_80_PRO',
      manufacturer: 'NVIDIA',
      memory: 80,
      secure: true,
      community: true,
      price: { secure: 3.99, community: 2.69, serverless: 4.176 },
      maxCount: { secure: 8, community: 8 },
    });
    const asked = '?include=AVAILABILITY&product=POD';
    expect(await gpu(asked)).toMatchObject({ availability: 'HIGH' });
    expect(await gpu(`${asked}&cloud=COMMUNITY`)).toMatchObject({ availability: 'LOW' });
    expect(await gpu(`${asked}&count=9`)).toMatchObject({ availability: 'NONE' });
    await sim('stock', { gpuTypeId: H100, cloud: 'SECURE', dataCenterId: 'US-KS-2', stock: 'None' });
    const row = await gpu(asked);
    expect(row.availability).toBe('HIGH');
    expect(row.dataCenters).toContainEqual({ id: 'EU-RO-1', name: 'EU-RO-1', availability: 'HIGH' });
    expect(row.dataCenters?.map(({ id }) => id)).not.toContain('US-KS-2');
    await sim('stock', { pool: 'ADA_80_PRO', stock: 'Low' });
    expect(await gpu('?include=AVAILABILITY&product=SERVERLESS')).toMatchObject({ availability: 'LOW' });
    await sim('stock', { gpuTypeId: H100, cloud: 'COMMUNITY', stock: 'None' });
    const nowhere = await gpu(`${asked}&cloud=COMMUNITY`);
    expect(nowhere.availability).toBe('NONE');
    expect(nowhere).not.toHaveProperty('dataCenters');
    expect((await call('GET', `/catalog/gpus/${encodeURIComponent(H100)}${asked}`)).body).toEqual(await gpu(asked));
    const place = await call('GET', '/catalog/datacenters/US-KS-2?include=GPU_AVAILABILITY');
    expect(place.body['gpuAvailability']).toContainEqual({ id: H100, name: 'H100 SXM', availability: 'NONE' });
    expect((await call('GET', '/catalog/datacenters')).body).toMatchObject({
      dataCenters: [{ id: 'EU-RO-1' }, {}, {}, {}, {}, {}, {}],
    });
    for (const query of ['include=AVAILABILITY', 'product=POD', 'count=2']) {
      expect(await call('GET', `/catalog/gpus?${query}`)).toMatchObject(problem(400, /include=AVAILABILITY/));
    }
    expect(await call('GET', '/catalog/gpus?include=AVAILABILITY&product=X')).toMatchObject(problem(422, /validation/));
    expect(await call('GET', '/catalog/gpus/none')).toMatchObject(problem(404, /not found/));
    // The pod is placed where there is stock, and nowhere else.
    const create = (dataCenterIds: string[]) => call('POST', '/pods', podBody('x', { dataCenterIds }));
    expect(await create(['US-KS-2'])).toMatchObject(problem(400, /no longer any instances/));
    expect((await create(['US-KS-2', 'EU-SE-1'])).body).toMatchObject({ dataCenterId: 'EU-SE-1' });
  });

  test('CPUs and public templates', async () => {
    expect((await call('GET', '/catalog/cpus')).body).toMatchObject({ cpus: [{ id: 'cpu3c' }, {}, {}] });
    const made = await call('POST', '/templates', { name: 'anneal-t-public', image: 'i', public: true });
    expect((await call('GET', '/catalog/templates')).body).toMatchObject({ templates: [{ name: 'anneal-t-public' }] });
    await call('DELETE', `/templates/${made.body['id'] as string}`);
  });
});

test('billing sums what the ledger has, by pod and in parts', async () => {
  const id = await createPod();
  const volume = await call('POST', '/network-volumes', { name: 'v', size: 1000, dataCenter: 'EU-RO-1' });
  interface Bill {
    records: Record<string, number>[];
    metadata: Record<string, unknown>;
  }
  const bill = async (query: string) => (await call('GET', `/billing/${query}`)).body as unknown as Bill;
  const { records, metadata } = await until(async () => {
    const found = await bill(`pods?podId=${id}&bucketSize=hour`);
    return (found.records[0]?.['totalAmount'] ?? 0) > 0 ? found : null;
  });
  const record = records[0]!;
  expect(record).toMatchObject({ podId: id, cpuAmount: 0, startTime: expect.any(String), endTime: expect.any(String) });
  expect(record['totalAmount']).toBeCloseTo(record['gpuAmount']! + record['diskAmount']!, 9);
  expect(record['gpuAmount']! / record['diskAmount']!).toBeCloseTo(3.99 / ((140 * 0.1) / 730), 3);
  expect(metadata).toMatchObject({
    query: { bucketSize: 'hour', podId: id },
    recordCount: 1,
    uniquePodCount: 1,
    totals: { totalAmount: record['totalAmount'] },
  });
  expect((await bill('pods?podId=other')).records).toEqual([]);
  expect((await bill(`pods?podId=${id}&bucketSize=week&lastN=2`)).records).toHaveLength(1);
  const volumeId = volume.body['id'] as string;
  const volumes = await bill(`network-volumes?networkVolumeId=${volumeId}`);
  expect(volumes.records).toMatchObject([{ networkVolumeId: volumeId, standardAmount: expect.any(Number) }]);
  expect((await bill('serverless')).records).toBeInstanceOf(Array);
  expect(await call('GET', '/billing/pods?bucketSize=century')).toMatchObject(problem(422, /validation/));
  expect(await call('GET', '/billing/pods?lastN=1&startTime=2026-05-01T00:00:00Z')).toMatchObject(
    problem(400, /lastN/),
  );
  await call('DELETE', `/network-volumes/${volumeId}`);
});

test('limits: every authenticated answer carries them, and beyond them is 429 with Retry-After', async () => {
  await sim('rate-limit', { perMinute: 3, perHour: 100, perDay: 1000 });
  const first = await call('GET', '/pods');
  expect(first.headers.get('ratelimit')).toMatch(/^"minute";r=2;t=60, "hour";r=99;t=3600, "day";r=999;t=86400$/);
  expect(first.headers.get('ratelimit-policy')).toBe('"minute";q=3;w=60, "hour";q=100;w=3600, "day";q=1000;w=86400');
  expect((await call('GET', '/pods/none')).headers.get('ratelimit')).toContain('"minute";r=1');
  expect((await call('DELETE', '/pods/none')).headers.get('ratelimit')).toContain('"minute";r=0');
  const refused = await call('GET', '/pods');
  expect(refused).toMatchObject(problem(429, /rate limit/));
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
  expect(refused.headers.get('ratelimit')).toContain('"minute";r=0');
  // The figures of the specification, by name.
  await sim('rate-limit', 'example');
  expect((await call('GET', '/pods')).headers.get('ratelimit-policy')).toContain('"minute";q=60;w=60');
  await sim('rate-limit', 'generous');
});

test('REST v1 is gone; the other control planes answer as retired ones when told to', async () => {
  expect((await fetch(`${world.simulator.url}/v1/pods`)).status).toBe(410);
  await sim('retired', { v2: 410, graphql: 404 });
  expect((await call('GET', '/pods')).status).toBe(410);
  const query = () => fetch(`${world.simulator.url}/graphql`, { method: 'POST', body: '{"query":"{gpuTypes{id}}"}' });
  expect((await query()).status).toBe(404);
  // The job API is another host's.
  const health = await fetch(`${world.simulator.dataPlaneUrl}/none/health`, { headers: { authorization: API_KEY } });
  expect(await health.json()).toEqual({ error: 'endpoint not found' });
  await sim('retired', { v2: false, graphql: false });
  expect((await call('GET', '/pods')).status).toBe(200);
});
