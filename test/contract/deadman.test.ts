import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from '@jest/globals';
import { saveAblation } from '../../activities/lib/checkpoint.ts';
import { writeDeadline } from '../../activities/lib/pod-deadline.ts';
import { podEnv } from '../../domain/pod-start.ts';
import { createSsh } from '../../services/ssh/ssh2-client.ts';
import type { SshTarget } from '../../services/ssh/port.ts';
import { FakeRegistry } from '../support/fake-ports.ts';
import { findJobsDir } from '../../services/job-code/archive.ts';
import { createPod, MASTER_KEY, podRequest, startWorld, until, untilReachable } from '../support/runpod-world.ts';

const NAME = 'anneal-t-deadman-r20260101-000000';
const PROGRAM = readFileSync(join(findJobsDir(), 'deadman', 'deadman.py'), 'utf8');
const LEASE = '"$ANNEAL_WORKSPACE/anneal/lease"';

let world: Awaited<ReturnType<typeof startWorld>>;
afterEach(async () => {
  await world.close();
});

interface Limits {
  boot?: number;
  lease?: number;
  hard?: number;
  api?: 'graphql' | 'v2';
}

/** A pod as the product makes it, with deadlines short enough to wait for. */
async function rent({ boot = 60, lease = 60, hard = 60, api = 'graphql' }: Limits) {
  const ssh = createSsh({ masterKey: MASTER_KEY });
  const env = podEnv({
    publicKey: ssh.publicKeyFor(NAME),
    bootValue: ssh.bootValueFor(NAME),
    specHash: 'hash',
    gpuTypeId: 'NVIDIA H100 80GB HBM3',
    deadman: { program: PROGRAM, api, bootDeadlineMs: boot * 1_000, leaseMs: lease * 1_000, lifetimeMs: hard * 1_000 },
  });
  expect(Buffer.byteLength(env['ANNEAL_DEADMAN'] ?? '')).toBeLessThan(12 * 1_024);
  const rentedAt = Date.now();
  const { id } = await createPod(
    world.runpod,
    podRequest(NAME, { env: { ...env, ANNEAL_DEADMAN_CHECK_SECONDS: '0.1' } }),
  );
  return { id, age: () => (Date.now() - rentedAt) / 1_000 };
}

async function target(podId: string): Promise<SshTarget> {
  return { podName: NAME, address: await untilReachable(world.runpod, podId), pinnedHostKey: null };
}

async function shell(podId: string, command: string): Promise<string> {
  const result = await world.ssh.exec(await target(podId), command, { timeoutMs: 20_000 });
  expect(result.exitCode).toBe(0);
  return result.stdout;
}

/** At the simulator itself: an API may have been retired. */
const seen = (id: string) => Promise.resolve(world.simulator.state().pods.find((pod) => pod.id === id));
const isGone = async (id: string) => (await seen(id)) === undefined;
const isStopped = async (id: string) => (await seen(id))?.desiredStatus === 'EXITED';
const untilGone = (id: string) => until(() => isGone(id));
const untilStopped = (id: string) => until(() => isStopped(id));

async function retire(apis: { graphql?: number; v2?: number }): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  const request = { method: 'POST', headers, body: JSON.stringify(apis) };
  expect((await fetch(`${world.simulator.url}/_sim/retired`, request)).status).toBe(200);
}
/** The switch's record on the volume, which outlives a stopped container. */
function record(podId: string): string {
  const path = join(world.stateDir, 'pods', podId, 'workspace', 'anneal', 'deadman.json');
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

test('a pod that nobody ever reaches ends itself at its boot deadline', async () => {
  world = await startWorld();
  const pod = await rent({ boot: 2 });
  await untilReachable(world.runpod, pod.id);
  await untilGone(pod.id);
  expect(pod.age()).toBeGreaterThanOrEqual(2);
  expect(world.simulator.state().pods).toEqual([]);
});

test('a pod whose people have all gone ends itself when its lease is over', async () => {
  world = await startWorld();
  const pod = await rent({ boot: 1, lease: 2 });
  await shell(pod.id, `touch ${LEASE}; for i in 1 2 3; do sleep 1; touch ${LEASE}; done`);
  const lastContact = pod.age();
  expect(await isGone(pod.id)).toBe(false);
  await untilGone(pod.id);
  expect(pod.age() - lastContact).toBeGreaterThan(1);
});

test('the hard deadline holds although somebody keeps renewing the lease', async () => {
  world = await startWorld();
  const pod = await rent({ hard: 3, lease: 2 });
  await shell(pod.id, `(while :; do touch ${LEASE}; sleep 0.2; done) >/dev/null 2>&1 &`);
  await untilGone(pod.id);
  expect(pod.age()).toBeGreaterThanOrEqual(3);
});

test('a deadline moved over SSH is the one that counts', async () => {
  world = await startWorld();
  const pod = await rent({ hard: 3 });
  await shell(pod.id, `touch ${LEASE}; echo garbage > "$ANNEAL_WORKSPACE/anneal/hard-deadline"`);
  await writeDeadline(world, await target(pod.id), Date.now() + 6_500);
  await until(() => Promise.resolve(pod.age() > 4));
  expect(await isGone(pod.id)).toBe(false);
  await untilGone(pod.id);
  expect(pod.age()).toBeGreaterThan(5);
});

test('where its key may not terminate, the pod stops itself; its key is written nowhere', async () => {
  world = await startWorld({ podKeyMayTerminate: false });
  const pod = await rent({ boot: 1 });
  const key = world.simulator.fleet.get(pod.id)?.apiKey ?? '';
  await untilStopped(pod.id);
  expect(JSON.parse(record(pod.id))).toMatchObject({
    lastAttempts: [
      { call: 'podTerminate', api: 'graphql', answer: 'refused: HTTP 403' },
      { call: 'podTerminate', api: 'v2', answer: 'refused: HTTP 403' },
      { call: 'podStop', api: 'graphql' },
    ],
  });
  expect(key).not.toBe('');
  expect(record(pod.id)).not.toContain(key);
});

test('a pod of a worker that speaks v2 ends itself by v2', async () => {
  world = await startWorld();
  const pod = await rent({ boot: 2, api: 'v2' });
  await retire({ graphql: 410 });
  await untilGone(pod.id);
});

test('by v2 it stops too: where its key may not terminate, and with output nobody has collected', async () => {
  world = await startWorld({ podKeyMayTerminate: false });
  const refused = await rent({ boot: 1, api: 'v2' });
  await untilStopped(refused.id);
  expect(JSON.parse(record(refused.id))).toMatchObject({
    lastAttempts: [
      { call: 'podTerminate', api: 'v2', answer: 'refused: HTTP 403' },
      { call: 'podTerminate', api: 'graphql', answer: 'refused: HTTP 403' },
      { call: 'podStop', api: 'v2' },
    ],
  });
  const full = await rent({ lease: 1, api: 'v2' });
  const write = 'd="$ANNEAL_WORKSPACE/anneal/work/ablate"; mkdir -p "$d"; echo trial > "$d/journal.jsonl"';
  await shell(full.id, `touch ${LEASE}; ${write}`);
  await untilStopped(full.id);
  const { lastAttempts } = JSON.parse(record(full.id)) as { lastAttempts: unknown[] };
  expect(lastAttempts).toMatchObject([{ call: 'podStop', api: 'v2' }]);
});

test.each([
  ['graphql', { graphql: 404 }],
  ['graphql', { graphql: 410 }],
  ['v2', { v2: 404 }],
  ['v2', { v2: 410 }],
] as const)('a pod rented under %s ends itself by the other API once %p is all that answers', async (api, retired) => {
  world = await startWorld();
  const pod = await rent({ boot: 2, api });
  await untilReachable(world.runpod, pod.id);
  await retire(retired);
  await untilGone(pod.id);
});

test('by the other API it stops what has output nobody has collected; a retired API is no refused stop', async () => {
  world = await startWorld();
  const pod = await rent({ lease: 2 });
  const write = 'd="$ANNEAL_WORKSPACE/anneal/work/ablate"; mkdir -p "$d"; echo trial > "$d/journal.jsonl"';
  await shell(pod.id, `touch ${LEASE}; ${write}`);
  await retire({ graphql: 410 });
  const away = { kind: 'status', status: 503 } as const;
  world.simulator.faults.add({ target: 'runpod', operation: 'v2.pods.action.stop', action: away, times: 4 });
  await untilStopped(pod.id);
  expect(world.simulator.faults.list()).toEqual([]);
  expect(record(pod.id)).not.toContain('podTerminate');
});

test('an API that only fails is not waited for: the other one is asked beside it', async () => {
  world = await startWorld();
  const away = { kind: 'status', status: 503 } as const;
  world.simulator.faults.add({ target: 'runpod', operation: 'v2.pods.delete', action: away, times: 1_000 });
  const pod = await rent({ boot: 1, api: 'v2' });
  await untilGone(pod.id);
});

test("by v2 a pod's key may stop its pod and not start it, as by GraphQL", async () => {
  world = await startWorld();
  const { id } = await rent({});
  const key = world.simulator.fleet.get(id)?.apiKey ?? '';
  const act = async (action: string): Promise<number> => {
    const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
    const request = { method: 'POST', headers, body: JSON.stringify({ action }) };
    return (await fetch(`${world.simulator.url}/v2/pods/${id}/action`, request)).status;
  };
  expect([await act('stop'), await act('start')]).toEqual([200, 403]);
  expect(await isStopped(id)).toBe(true);
});

test('with output nobody has collected the pod stops; a restart without the switch lets a person in', async () => {
  world = await startWorld();
  const pod = await rent({ lease: 2 });
  const write = 'd="$ANNEAL_WORKSPACE/anneal/work/ablate"; mkdir -p "$d"; echo trial > "$d/journal.jsonl"';
  await shell(pod.id, `touch ${LEASE}; ${write}`);
  await untilStopped(pod.id);
  expect(JSON.parse(record(pod.id))).toMatchObject({
    state: 'ending',
    reason: 'lease',
    lastAttempts: [{ call: 'podStop' }],
  });
  const stopped = world.simulator.fleet.get(pod.id);
  if (!stopped) throw new Error('the pod is gone');
  stopped.env = stopped.env.map(({ key, value }) => ({ key, value: key === 'ANNEAL_DEADMAN' ? '' : value }));
  world.simulator.fleet.resume(pod.id);
  expect(await shell(pod.id, 'sleep 1; cat "$ANNEAL_WORKSPACE/anneal/work/ablate/journal.jsonl"')).toBe('trial\n');
});

test('output that was collected does not keep the pod', async () => {
  world = await startWorld();
  const pod = await rent({ lease: 2 });
  const write = 'd="$ANNEAL_WORKSPACE/anneal/work/ablate"; mkdir -p "$d"; echo trial > "$d/journal.jsonl"';
  await shell(pod.id, `touch ${LEASE}; ${write}`);
  const registry = new FakeRegistry();
  const saved = await saveAblation({ ssh: world.ssh, registry }, await target(pod.id), 'run-1');
  expect(saved.bytes).toBeGreaterThan(0);
  await untilGone(pod.id);
});

test('it keeps trying while the provider is away or does not answer', async () => {
  world = await startWorld();
  for (const kind of ['drop', 'drop'] as const) {
    world.simulator.faults.add({ target: 'runpod', operation: 'podTerminate', action: { kind } });
  }
  const away = { kind: 'status', status: 503, body: 'away' } as const;
  world.simulator.faults.add({ target: 'runpod', operation: 'podTerminate', action: away });
  const pod = await rent({ boot: 1 });
  await untilGone(pod.id);
});

/** Empty for a process that has ended meanwhile. */
function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

/** Kills processes of the pod, by id, as a crash or the out-of-memory killer would. */
function kill(podId: string, which: (commandLine: string) => boolean): number {
  const { processes } = world.simulator.state().pods.find(({ id }) => id === podId) ?? { processes: [] };
  const chosen = processes.filter((pid) => which(commandLine(pid)));
  for (const pid of chosen) process.kill(pid, 'SIGKILL');
  return chosen.length;
}

test('a container that is started again keeps the age of its pod', async () => {
  world = await startWorld();
  const pod = await rent({ hard: 5 });
  await shell(pod.id, `touch ${LEASE}`);
  await until(() => Promise.resolve(record(pod.id).includes('"lease":') && pod.age() > 2.5));
  expect(kill(pod.id, (line) => line.includes('infinity'))).toBe(1);
  await untilGone(pod.id);
  expect(pod.age()).toBeGreaterThan(4.5);
  expect(pod.age()).toBeLessThan(7.5);
});

test('a switch that was killed comes back', async () => {
  world = await startWorld();
  const pod = await rent({ boot: 3 });
  await until(() => Promise.resolve(kill(pod.id, (line) => line.includes('dead-man switch of a pod')) > 0));
  await untilGone(pod.id);
  expect(pod.age()).toBeGreaterThanOrEqual(3);
});
