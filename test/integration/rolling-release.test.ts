import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { WorkflowFailedError } from '@temporalio/client';
import { resultOf, startRun } from '../../client/pipelines.ts';
import type { PipelineSpec } from '../../contract/spec.ts';
import type { FaultRule } from '../../simulators/faults.ts';
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
}, 180_000);
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

// Warm-up and smoke test cannot tell a stale worker from the new release yet: this good release is taken back for the
// former one's answers. Remove `.failing` with the remedy.
test.failing('clients get an answer throughout a promotion, and what is proven is the new release', async () => {
  const before = await stableVersion();
  const started = await startRun(world.client, release(9));
  await candidateReady();
  // No machine for the new release: only the stale worker can answer, for as long as it takes to mistake it.
  await stock('None');
  const client = askingBackToBack();
  await promotedFrom(before);
  const asked = client.answers.length;
  await until(() => Promise.resolve(client.answers.length >= asked + 60), 'the stale worker answers');
  expect(new Set(client.answers)).toEqual(new Set([live]));
  await stock('High');
  const { outputs } = await resultOf(world.client, started);
  const answers = await client.stop();
  const now = await chat();
  expect(now).not.toBe(live);
  expect(new Set(answers)).toEqual(new Set([live, now]));
  expect(outputs.smoke!.checks.every((check) => check.passed)).toBe(true);
  expect((await world.rented()).workers).toMatchObject([{ stale: false, state: 'ready' }]);
  live = now;
});

test('when idle stale workers end at once, clients wait, and every answer still comes', async () => {
  await releases({ idleStale: 'end' });
  const started = await startRun(world.client, release(1));
  await candidateReady();
  const client = askingBackToBack();
  await resultOf(world.client, started);
  const answers = await client.stop();
  const now = await chat();
  expect(new Set(answers)).toEqual(new Set([live, now]));
  live = now;
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
