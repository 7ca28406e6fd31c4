import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type { EndpointSettings, TemplateSpec } from '../../services/runpod/port.ts';
import { DEFAULT_RELEASE_POLICY, type ReleasePolicy } from '../../simulators/runpod/serverless/releases.ts';
import { API_KEY, until } from '../support/runpod-world.ts';
import {
  deleteServing,
  endpointSettings,
  loadsAs,
  startServingWorld,
  workerTemplate,
} from '../support/serving-world.ts';

const OLD = 2048;
const NEW = 4096;
const POOL = 'AMPERE_80';

let world: Awaited<ReturnType<typeof startServingWorld>>;
beforeAll(async () => {
  world = await startServingWorld();
});
afterEach(async () => {
  await policy(DEFAULT_RELEASE_POLICY);
  await stock('High');
  await deleteServing(world.runpod);
  await until(() => Promise.resolve(workers().length === 0));
});
afterAll(async () => {
  await world.close();
});

const admin = (path: string, body: unknown): Promise<Response> =>
  fetch(`${world.simulator.url}/_sim/${path}`, { method: 'POST', body: JSON.stringify(body) });
const policy = (change: Partial<ReleasePolicy>) => admin('releases', change);
/** Without stock a new worker waits as throttled: the moment between two releases, for as long as a test needs it. */
const stock = (word: string) => admin('stock', { pool: POOL, stock: word });
const workers = () => world.simulator.state().workers;

/** The release's mark: every worker tells the length in its list of models. */
const template = (release: number, name = 'tiny'): TemplateSpec =>
  workerTemplate({ ...loadsAs(name), MAX_MODEL_LEN: String(release) }, `anneal-t-${name}-${release}`);
const settings = (templateId: string, change: Partial<EndpointSettings>): EndpointSettings =>
  endpointSettings(templateId, { gpuPools: POOL, ...change });

/** An endpoint whose old release is warm. */
async function warm(change: Partial<EndpointSettings> = {}) {
  const { id } = await world.runpod.saveTemplate(template(OLD));
  const endpoint = await world.runpod.createEndpoint(settings(id, change), { deadlineMs: 5_000 });
  expect(await answering(endpoint.id)).toBe(OLD);
  return endpoint;
}
async function release(endpointId: string, spec: TemplateSpec): Promise<void> {
  const { id } = await world.runpod.saveTemplate(spec);
  await world.runpod.updateEndpoint(endpointId, { templateId: id });
}

/** Which release answers one request through the OpenAI routes; anything but 200 fails the test. */
async function answering(endpointId: string): Promise<number> {
  const answer = await fetch(`${world.serving.openAiBaseUrl(endpointId)}/models`, {
    headers: { authorization: `Bearer ${API_KEY}` },
  });
  expect(answer.status).toBe(200);
  return ((await answer.json()) as { data: { max_model_len: number }[] }).data[0]!.max_model_len;
}
const hang = (endpointId: string) =>
  world.serving.run(endpointId, {
    openai_route: '/v1/chat/completions',
    openai_input: { model: 'tiny', messages: [{ role: 'user', content: 'hang' }] },
  });
const inProgress = (endpointId: string) =>
  until(async () => (await world.serving.health(endpointId)).jobs.inProgress === 1);

test('stale workers answer until a worker of the new release is ready, then go, and every answer is 200', async () => {
  const { id } = await warm();
  const [old] = workers();
  await stock('None');
  await release(id, template(NEW));
  await until(() => Promise.resolve(workers().length === 2));
  for (let round = 0; round < 5; round += 1) expect(await answering(id)).toBe(OLD);
  expect(workers().find((worker) => worker.stale)).toMatchObject({ id: old!.id, state: 'ready' });
  await stock('High');
  const seen: number[] = [];
  await until(async () => {
    seen.push(await answering(id));
    return seen.at(-1) === NEW;
  });
  expect(seen.slice(0, -1).every((number) => number === OLD)).toBe(true);
  await until(() => Promise.resolve(workers().length === 1));
  expect(workers()[0]).toMatchObject({ stale: false, release: world.simulator.state().endpoints[0]!.version });
  expect(await answering(id)).toBe(NEW);
});

test('the warm-up job of an update may be answered by a stale worker, and its workerId shows it', async () => {
  const { id } = await warm();
  const [old] = workers();
  await stock('None');
  await release(id, template(NEW));
  const job = await world.serving.run(id, { messages: [] });
  const done = await until(async () => {
    const answer = await fetch(`${world.simulator.dataPlaneUrl}/${id}/status/${job.id}`, {
      headers: { authorization: `Bearer ${API_KEY}` },
    });
    const body = (await answer.json()) as { status: string; workerId?: string };
    return body.status === 'COMPLETED' && body;
  });
  expect(done.workerId).toBe(old!.id);
});

test('a busy stale worker finishes its job, and new jobs go to the new release', async () => {
  const { id } = await warm();
  const [old] = workers();
  const job = await hang(id);
  await inProgress(id);
  await release(id, template(NEW));
  await until(async () => (await answering(id)) === NEW);
  expect(workers().map((worker) => worker.id)).toContain(old!.id);
  expect(await world.serving.status(id, job.id)).toMatchObject({ status: 'IN_PROGRESS' });
  await world.serving.cancel(id, job.id);
  await until(() => Promise.resolve(!workers().some((worker) => worker.id === old!.id)));
});

test('each new worker relieves one stale worker', async () => {
  const { id } = await warm({ workersMin: 2, workersMax: 2 });
  await until(() => Promise.resolve(workers().filter(({ state }) => state === 'ready').length === 2));
  await stock('None');
  await release(id, template(NEW));
  await until(() => Promise.resolve(workers().filter(({ stale }) => !stale).length === 2));
  expect(workers().filter(({ stale, state }) => stale && state === 'ready')).toHaveLength(2);
  await stock('High');
  await until(() => Promise.resolve(workers().every(({ stale }) => !stale)));
  expect(workers()).toHaveLength(2);
});

test('a new release that crash-loops leaves the old one serving until it idles out', async () => {
  const { id } = await warm({ idleTimeoutSeconds: 1 });
  const [old] = workers();
  await release(id, template(NEW, 'CRASH'));
  const crashes = () => Math.max(0, ...workers().map((worker) => worker.crashes));
  await until(async () => {
    expect(await answering(id)).toBe(OLD);
    return crashes() >= 2;
  });
  expect(workers().map((worker) => worker.id)).toContain(old!.id);
  await until(() => Promise.resolve(!workers().some((worker) => worker.id === old!.id)));
});

test('going back is a release of its own, and the former workers that still live serve meanwhile', async () => {
  const before = await warm();
  const [old] = workers();
  await stock('None');
  await release(before.id, template(NEW));
  await world.runpod.updateEndpoint(before.id, { templateId: before.templateId });
  expect(await answering(before.id)).toBe(OLD);
  expect(workers().find((worker) => worker.id === old!.id)?.stale).toBe(true);
  await stock('High');
  await until(() => Promise.resolve(workers().length === 1 && !workers()[0]!.stale));
  expect(await answering(before.id)).toBe(OLD);
});

test('settings of the scaler are no release', async () => {
  const { id } = await warm();
  await world.runpod.updateEndpoint(id, { workersMax: 2, idleTimeoutSeconds: 30 });
  expect(workers()).toMatchObject([{ stale: false }]);
});

test('editing a template releases its endpoints anew, or waits for the endpoint to be saved', async () => {
  const endpoint = await warm();
  await stock('None');
  const edited = { ...template(NEW), name: template(OLD).name };
  await policy({ templateEdit: 'wait' });
  await world.runpod.saveTemplate(edited, endpoint.templateId);
  expect(workers()).toMatchObject([{ stale: false }]);
  await policy({ templateEdit: 'release' });
  await world.runpod.saveTemplate(edited, endpoint.templateId);
  expect(workers()).toMatchObject([{ stale: false }]);
  await world.runpod.saveTemplate({ ...edited, image: 'runpod/worker-v1-vllm:v2.26.0' }, endpoint.templateId);
  expect(workers().some(({ stale }) => stale)).toBe(true);
  await stock('High');
  await until(async () => (await answering(endpoint.id)) === NEW);
});

test('health knows no releases; stale workers count, or not', async () => {
  const { id } = await warm();
  await stock('None');
  await release(id, template(NEW));
  const counts = async () => (await world.serving.health(id)).workers;
  expect(await counts()).toEqual({ idle: 1, initializing: 0, ready: 1, running: 0, throttled: 1, unhealthy: 0 });
  await policy({ health: 'current' });
  expect(await counts()).toEqual({ idle: 0, initializing: 0, ready: 0, running: 0, throttled: 1, unhealthy: 0 });
});

test('the other reading: idle stale workers end at once, and requests wait for the new release', async () => {
  await policy({ idleStale: 'end' });
  const { id } = await warm();
  const [old] = workers();
  await stock('None');
  await release(id, template(NEW));
  expect(workers().map((worker) => worker.id)).not.toContain(old!.id);
  const waiting = answering(id);
  await until(async () => (await world.serving.health(id)).workers.throttled === 1);
  await stock('High');
  expect(await waiting).toBe(NEW);
});

test('the other reading: a busy stale worker finishes its job and takes no other', async () => {
  await policy({ idleStale: 'end' });
  const { id } = await warm();
  const [old] = workers();
  const job = await hang(id);
  await inProgress(id);
  await release(id, template(NEW));
  expect(await answering(id)).toBe(NEW);
  expect(workers().map((worker) => worker.id)).toContain(old!.id);
  await world.serving.cancel(id, job.id);
  await until(() => Promise.resolve(workers().length === 1));
});
