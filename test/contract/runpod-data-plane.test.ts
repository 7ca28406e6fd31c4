import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { RunPodError } from '../../services/runpod/errors.ts';
import type { EndpointSettings } from '../../services/runpod/port.ts';
import { createServing } from '../../services/runpod/serving.ts';
import { until } from '../support/runpod-world.ts';
import {
  deleteServing,
  endpointSettings,
  loadsAs,
  startServingWorld,
  workerTemplate,
} from '../support/serving-world.ts';

let world: Awaited<ReturnType<typeof startServingWorld>>;
beforeAll(async () => {
  world = await startServingWorld();
});
afterEach(async () => {
  world.simulator.faults.clear();
  await fetch(`${world.simulator.url}/_sim/stock`, {
    method: 'POST',
    body: JSON.stringify({ pool: 'AMPERE_80', stock: 'High' }),
  });
  await deleteServing(world.runpod);
  await until(() => Promise.resolve(world.simulator.state().workers.length === 0));
});
afterAll(async () => {
  await world.close();
});

const deploy = async (change: Partial<EndpointSettings> = {}, env: Record<string, string> = {}) => {
  const { id } = await world.runpod.saveTemplate(workerTemplate({ ...loadsAs('tiny'), ...env }));
  return world.runpod.createEndpoint(endpointSettings(id, change), { deadlineMs: 5000 });
};
const codeOf = (action: Promise<unknown>) =>
  action.then(
    () => null,
    (error: unknown) => (error instanceof RunPodError ? `${error.kind}/${error.code}` : String(error)),
  );
const ended = (endpointId: string, jobId: string) =>
  until(async () => {
    const job = await world.serving.status(endpointId, jobId);
    return job && job.status !== 'IN_QUEUE' && job.status !== 'IN_PROGRESS' ? job : null;
  });
const ask = (content: string) => ({
  model: 'tiny',
  messages: [{ role: 'user' as const, content }],
  maxTokens: 8,
});

describe('data plane', () => {
  test('a request starts a worker from the Hub files; run, chat, stream and models answer; idle workers go', async () => {
    const { id } = await deploy({ idleTimeoutSeconds: 1 });
    expect((await world.serving.health(id)).workers).toMatchObject({ ready: 0, idle: 0 });
    const job = await world.serving.run(id, {
      messages: [{ role: 'user', content: 'hi' }],
      sampling_params: { max_tokens: 4 },
    });
    const done = await ended(id, job.id);
    expect(done).toMatchObject({ status: 'COMPLETED', error: null });
    expect(done.output).toMatchObject([
      { object: 'chat.completion', choices: [{ message: { content: 'Grüße from tiny' } }] },
    ]);

    expect(await world.serving.listModels(id)).toEqual(['tiny']);
    const whole = await world.serving.chat(id, ask('hi'), { timeoutMs: 10_000 });
    expect(whole).toMatchObject({
      text: 'Grüße from tiny',
      finishReason: 'stop',
      promptTokens: 3,
      completionTokens: 2,
    });
    const streamed = await world.serving.chatStream(id, ask('hi'), { timeoutMs: 10_000 });
    expect(streamed).toMatchObject({
      text: 'Grüße from tiny',
      finishReason: 'stop',
      promptTokens: 3,
      completionTokens: 3,
    });
    expect(streamed.firstTokenMs).toBeGreaterThan(0);
    expect(streamed.totalMs).toBeGreaterThanOrEqual(streamed.firstTokenMs);

    const health = await world.serving.health(id);
    expect(health.jobs).toMatchObject({ completed: 4, failed: 0, inQueue: 0, inProgress: 0 });
    expect(health.workers).toMatchObject({ ready: 1, idle: 1 });
    expect((await world.runpod.account()).spendPerHour).toBe(2_736_000);
    expect(world.serving.openAiBaseUrl(id)).toBe(`${world.simulator.dataPlaneUrl}/${id}/openai/v1`);
    await until(async () => (await world.serving.health(id)).workers.ready === 0);
    expect((await world.runpod.account()).spendPerHour).toBe(0);
  });

  test("a worker's failure is an error, whole and streamed", async () => {
    const { id } = await deploy();
    const other = { ...ask('hi'), model: 'another' };
    expect(await codeOf(world.serving.chat(id, other, { timeoutMs: 10_000 }))).toBe('refused/UnknownModel');
    expect(await codeOf(world.serving.chatStream(id, other, { timeoutMs: 10_000 }))).toBe('refused/UnknownModel');
    const job = await world.serving.run(id, { nonsense: true });
    expect(await ended(id, job.id)).toMatchObject({
      status: 'COMPLETED',
      output: [{ error: { type: 'worker_error' } }],
    });
  });

  test('jobs stay queued while no worker may run; cancel ends one', async () => {
    const { id } = await deploy({ workersMax: 0 });
    const job = await world.serving.run(id, { prompt: 'hi' });
    expect(await world.serving.status(id, job.id)).toMatchObject({ status: 'IN_QUEUE', output: null });
    await world.serving.cancel(id, job.id);
    expect(await world.serving.status(id, job.id)).toMatchObject({ status: 'CANCELLED' });
    await world.serving.cancel(id, 'neverthere');
    expect(await world.serving.status(id, 'neverthere')).toBeNull();
  });

  test('a worker answers to every name of its extra arguments, which win over the override', async () => {
    const { id } = await deploy({}, { VLLM_EXTRA_ARGS: '--served-model-name tiny tiny.r1 --enforce-eager' });
    expect(await world.serving.listModels(id)).toEqual(['tiny', 'tiny.r1']);
    const named = (model: string) => world.serving.chat(id, { ...ask('hi'), model }, { timeoutMs: 10_000 });
    expect((await named('tiny.r1')).text).toBe((await named('tiny')).text);
    expect(await codeOf(named('tiny.r2'))).toBe('refused/UnknownModel');
    const streamed = world.serving.chatStream(id, { ...ask('hi'), model: 'tiny.r2' }, { timeoutMs: 10_000 });
    expect(await codeOf(streamed)).toBe('refused/UnknownModel');
    expect(world.simulator.state().jobs.filter(({ failed }) => failed)).toMatchObject([
      { model: 'tiny.r2', status: 'COMPLETED', release: expect.any(Number) },
      { model: 'tiny.r2' },
    ]);
  });

  test.each([
    [404, { error: { message: 'The model `x` does not exist.' } }, 'refused/UnknownModel'],
    [400, 'The model `x` does not exist.', 'refused/UnknownModel'],
    [200, { object: 'error', message: 'The model `x` does not exist.', code: 404 }, 'refused/UnknownModel'],
    [404, { error: 'endpoint not found' }, 'refused/NotFound'],
    [400, { error: 'bad request' }, 'refused/Invalid'],
  ])('an answer of status %d with %j is %s', async (status, body, code) => {
    const { id } = await deploy();
    world.simulator.faults.add({ target: 'dataplane', operation: 'openai', action: { kind: 'status', status, body } });
    expect(await codeOf(world.serving.chat(id, ask('hi'), { timeoutMs: 10_000 }))).toBe(code);
  });

  test('without stock a worker is throttled, and comes when there is some', async () => {
    const stock = (word: string) =>
      fetch(`${world.simulator.url}/_sim/stock`, {
        method: 'POST',
        body: JSON.stringify({ pool: 'AMPERE_80', stock: word }),
      });
    await stock('None');
    const { id } = await deploy({ gpuPools: 'AMPERE_80' });
    const job = await world.serving.run(id, { messages: [] });
    await until(async () => (await world.serving.health(id)).workers.throttled === 1);
    await stock('Low');
    expect((await ended(id, job.id)).status).toBe('COMPLETED');
  });

  test('a model that does not load makes the worker unhealthy, and its bill stops between tries', async () => {
    const { id } = await deploy({}, { OPENAI_SERVED_MODEL_NAME_OVERRIDE: 'CRASH' });
    await world.serving.run(id, { prompt: 'hi' });
    await until(async () => (await world.serving.health(id)).workers.unhealthy === 1);
    await until(() => Promise.resolve((world.simulator.state().workers[0]?.crashes ?? 0) >= 2));
    expect(world.simulator.state().workers[0]?.log).toContain('cannot load the model');
  });

  test('a worker that dies at a job is replaced; the job is retried, then failed', async () => {
    const { id } = await deploy();
    const job = await world.serving.run(id, { messages: [{ role: 'user', content: 'die' }] });
    expect(await ended(id, job.id)).toMatchObject({
      status: 'FAILED',
      error: expect.stringContaining('worker exited'),
    });
    expect((await world.serving.health(id)).jobs).toMatchObject({ failed: 1, retried: 3 });
  });

  test('a wrong key, an unknown endpoint and a timeout are told apart', async () => {
    const { id } = await deploy();
    const stranger = createServing({ dataPlaneUrl: world.simulator.dataPlaneUrl, apiKey: 'wrong' });
    expect(await codeOf(stranger.health(id))).toBe('refused/Unauthorized');
    expect(await codeOf(world.serving.health('neverthere'))).toBe('refused/NotFound');
    expect(await codeOf(world.serving.chat(id, ask('hang'), { timeoutMs: 1_000 }))).toBe('unavailable/Timeout');
    world.simulator.faults.add({ target: 'dataplane', operation: 'run', action: { kind: 'loseAnswer' } });
    expect(await codeOf(world.serving.run(id, { prompt: 'hi' }))).toBe('uncertain/Network');
  });

  test('a cut stream is unavailable', async () => {
    const { id } = await deploy();
    await world.serving.chat(id, ask('hi'), { timeoutMs: 10_000 });
    const body = 'data: {"choices":[{"delta":{"content":"a"}}]}\n\n';
    world.simulator.faults.add({
      target: 'dataplane',
      operation: 'openai',
      action: { kind: 'status', status: 200, body, headers: { 'content-type': 'text/event-stream' } },
    });
    expect(await codeOf(world.serving.chatStream(id, ask('hi'), { timeoutMs: 10_000 }))).toBe('unavailable/Network');
  });
});
