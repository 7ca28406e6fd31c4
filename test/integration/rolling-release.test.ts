import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { WorkflowFailedError } from '@temporalio/client';
import { resultOf, startRun } from '../../client/pipelines.ts';
import type { PipelineSpec } from '../../contract/spec.ts';
import type { FaultRule } from '../../simulators/faults.ts';
import type { SimulatorView } from '../../simulators/runpod/admin.ts';
import type { ReleasePolicy } from '../../simulators/runpod/serverless/releases.ts';
import { TestWorld, until } from '../support/local-world.ts';
import { aSpec } from '../support/specs.ts';

const STABLE = 'anneal-local-rolling';
const PROMPT = 'Tell me about tea.';
const MAX_TOKENS = 12;
const POOL = 'ADA_80_PRO';

let world: TestWorld;
let baseUrl: string;
let live: string;
let current: LiveClient | null = null;

beforeAll(async () => {
  world = await TestWorld.start();
  const { outputs } = await resultOf(world.client, await startRun(world.client, release(1)));
  baseUrl = outputs.deploy!.baseUrl;
  live = await chat();
});
afterEach(async () => {
  await current?.stop();
  current = null;
  await world.clearFaults();
  await stock('High');
  await releases({ idleStale: 'serve' });
  await world.expectNothingRented([STABLE]);
});
afterAll(() => world.stop());

/** Releases that differ in their weights. The idle timeout keeps the live one warm across a run. */
const release = (seed: number): PipelineSpec =>
  aSpec({
    name: 'rolling',
    ablate: { trials: 4, seed },
    publish: { repo: 'anneal/rolling' },
    serve: { gpus: [POOL], warmupDeadline: '2m', workers: { max: 1, idleTimeout: '10m' } },
  });

async function chat(): Promise<string> {
  const answer = await fetch(`${baseUrl}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${world.env['RUNPOD_API_KEY'] ?? ''}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      model: 'rolling',
      messages: [{ role: 'user', content: PROMPT }],
      max_tokens: MAX_TOKENS,
      temperature: 0,
    }),
  });
  const text = await answer.text();
  if (answer.status !== 200) throw new Error(`${answer.status}: ${text}`);
  return (JSON.parse(text) as { choices: { message: { content: string } }[] }).choices[0]!.message.content;
}

const admin = async (path: string, body: unknown): Promise<void> => {
  const url = `${world.world.env['RUNPOD_API_URL'] ?? ''}/_sim/${path}`;
  expect((await fetch(url, { method: 'POST', body: JSON.stringify(body) })).status).toBe(200);
};
const releases = (change: Partial<ReleasePolicy>): Promise<void> => admin('releases', change);
const stock = (word: string): Promise<void> => admin('stock', { pool: POOL, stock: word });

interface LiveClient {
  answers: string[];
  stop(): Promise<string[]>;
}

/** A client of the stable endpoint that asks back to back until told to stop; any answer but 200 ends it in anger. */
function askingBackToBack(): LiveClient {
  let stopped = false;
  const answers: string[] = [];
  const asking = (async () => {
    while (!stopped) answers.push(await chat());
  })();
  asking.catch(() => undefined);
  current = {
    answers,
    async stop() {
      stopped = true;
      await asking;
      return answers;
    },
  };
  return current;
}

const isStable = ({ name }: { name: string }): boolean => name.replace(/ -fb$/, '') === STABLE;
const stableVersion = async (): Promise<number> => (await world.rented()).endpoints.find(isStable)!.version;

/** The candidate holds: what is deployed next is the stable endpoint. */
const candidateReady = (): Promise<true> =>
  until(async () => {
    const { endpoints, workers } = await world.rented();
    const candidate = endpoints.find((endpoint) => !isStable(endpoint));
    return candidate !== undefined && workers.some((w) => w.endpointId === candidate.id && w.state === 'ready');
  }, 'the candidate answers');

const promotedFrom = (version: number): Promise<true> =>
  until(async () => (await stableVersion()) > version, 'the stable endpoint is updated');

/** What the stable endpoint was asked for by the name of a release, with the release of the worker that had it. */
const askedByReleaseName = async (): Promise<SimulatorView['jobs']> => {
  const { endpoints, jobs } = await world.rented();
  const { id } = endpoints.find(isStable)!;
  return jobs.filter(({ endpointId, model }) => endpointId === id && model?.startsWith('rolling.r'));
};

/** Both readings: idle stale workers serve until a new one is ready, or end at once and clients wait. */
test.each([
  ['serve', 9],
  ['end', 1],
] as const)(
  'clients get an answer throughout a promotion, idleStale %s, and what is proven is the new release',
  async (idleStale, seed) => {
    await releases({ idleStale });
    const before = await stableVersion();
    const started = await startRun(world.client, release(seed));
    await candidateReady();
    // No machine for the new release: while there is a stale worker, only that one can answer.
    await stock('None');
    const client = askingBackToBack();
    await promotedFrom(before);
    if (idleStale === 'serve') {
      const asked = client.answers.length;
      await until(() => Promise.resolve(client.answers.length >= asked + 60), 'the stale worker answers');
      expect(new Set(client.answers)).toEqual(new Set([live]));
    } else {
      await until(async () => (await world.rented()).workers.every(({ stale }) => !stale), 'the stale worker is gone');
    }
    await stock('High');
    const { outputs } = await resultOf(world.client, started);
    const answers = await client.stop();
    const now = await chat();
    expect(now).not.toBe(live);
    expect(new Set(answers)).toEqual(new Set([live, now]));
    expect(outputs.smoke!.checks.every((check) => check.passed)).toBe(true);
    expect((await world.rented()).workers).toMatchObject([{ stale: false, state: 'ready' }]);
    live = now;
  },
);

test('a release with the answers of the former one is proven by its own worker', async () => {
  const before = await stableVersion();
  const started = await startRun(world.client, release(1));
  await candidateReady();
  await stock('None');
  await promotedFrom(before);
  // The stale worker has the right words; only the name tells that it must not be believed.
  await until(async () => (await askedByReleaseName()).some((job) => job.failed), 'a stale worker is asked');
  await stock('High');
  const { outputs } = await resultOf(world.client, started);
  const after = await stableVersion();
  const jobs = await askedByReleaseName();
  const name = `rolling.${outputs.plan!.release}`;
  const answered = jobs.filter((job) => job.status === 'COMPLETED' && job.model === name && !job.failed);
  // Three of the warm-up, and more questions of the smoke test than recorded answers.
  expect(answered.length).toBeGreaterThan(3 + outputs.verify!.answers.length);
  expect(new Set(answered.map((job) => job.release))).toEqual(new Set([after]));
  const refused = jobs.filter((job) => job.model === name && job.failed);
  expect(new Set(refused.map((job) => job.release))).toEqual(new Set([before]));
  expect(outputs.smoke!.sample.answer).toBe(outputs.verify!.answers[0]!.answer);
  expect(outputs.smoke!.namesRelease).toBe(true);
  expect(await chat()).toBe(live);
});

test('workers that keep to the plain name are proven by it, and the report says what that leaves open', async () => {
  const before = await stableVersion();
  const spec = release(1);
  const env = { VLLM_EXTRA_ARGS: '--served-model-name rolling' };
  const started = await startRun(world.client, { ...spec, serve: { ...spec.serve!, env } });
  const { outputs } = await resultOf(world.client, started);
  expect(await stableVersion()).toBeGreaterThan(before);
  expect(outputs.smoke!.namesRelease).toBe(false);
  expect(outputs.smoke!.checks.at(-1)).toMatchObject({
    name: 'release',
    passed: true,
    detail: expect.stringContaining('a stale worker'),
  });
});

test('when the second smoke test fails, clients get an answer throughout, and the former release is back', async () => {
  const before = await stableVersion();
  const started = await startRun(world.client, release(9));
  await candidateReady();
  const client = askingBackToBack();
  await promotedFrom(before);
  const refused: FaultRule['action'] = { kind: 'status', status: 400, body: { error: 'refused by a test' } };
  await world.fault({ target: 'dataplane', operation: 'run', action: refused, times: 1_000 });
  await expect(resultOf(world.client, started)).rejects.toThrow(WorkflowFailedError);
  await until(
    async () => (await world.rented()).workers.every(({ stale, state }) => !stale && state === 'ready'),
    'the former release is back',
  );
  const answers = await client.stop();
  expect(await stableVersion()).toBe(before + 2);
  expect(await chat()).toBe(live);
  expect(answers.every((text) => text !== '')).toBe(true);
  expect(answers).toContain(live);
});
