import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { createActivities } from '../../activities/index.ts';
import type { Activities } from '../../contract/activities.ts';
import type { FollowDetails, ReadyPod } from '../../contract/stages.ts';
import { repositoryRoot } from '../../local/paths.ts';
import { packJobCode, type JobCode } from '../../services/job-code/archive.ts';
import { READY, rejection, RUN } from '../support/fake-ports-activity.ts';
import { fakePorts, type FakeRegistry } from '../support/fake-ports.ts';
import { Relay } from '../support/relay.ts';
import { createPod, podRequest, startWorld, until, untilReachable } from '../support/runpod-world.ts';

/** The real follower and the real supervisor over real SSH, with a network between them that breaks. */

const NAME = 'anneal-t-following-r20260101-000000';
const JOB = `
import os, sys, time

def run(context):
    kind = context.params["kind"]
    if kind == "steady":
        for step in range(context.params["steps"]):
            print("line", step, flush=True)
            context.events.progress("work", step + 1, context.params["steps"], "steps")
            context.events.emit("step", number=step)
            context.wait(0.1)
    if kind == "still":
        context.wait(60)
    if kind == "lines":
        for _ in range(1250):
            sys.stdout.write(("x" * 79 + "\\n") * 1000)
    if kind == "one line":
        for _ in range(1600):
            sys.stdout.write("y" * 65536)
        sys.stdout.write("\\n")
    if kind == "events":
        ends = time.monotonic() + 3
        path = os.environ["ANNEAL_WORKSPACE"] + "/anneal/jobs/" + context.job_id + "/events.jsonl"
        with open(path, "a") as stream:
            while time.monotonic() < ends:
                for number in range(1000):
                    stream.write('{"type":"trial","at":"2026-01-01T00:00:00Z","index":%d,"kl":0.5}\\n' % number)
                stream.flush()
                time.sleep(0.1)
    print("the last words", flush=True)
    return {"shards": 1, "changedTensors": [], "totalBytes": 1}
`;

let world: Awaited<ReturnType<typeof startWorld>>;
let scratch: string;
let code: JobCode;
let newerCode: JobCode;
let podId: string;
let relay: Relay;
let pod: ReadyPod;
let registry: FakeRegistry;
/** Log text as it was appended: where each piece began and ended. */
let appended: { from: number; to: number }[];
let nextJob = 0;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'anneal-following-'));
  const jobs = join(scratch, 'jobs');
  await cp(join(repositoryRoot(), 'jobs'), jobs, { recursive: true });
  await writeFile(join(jobs, 'stages', 'merge.py'), JOB);
  code = await packJobCode(jobs);
  await writeFile(join(jobs, 'stages', 'later.py'), '# a later version\n');
  newerCode = await packJobCode(jobs);
  world = await startWorld();
  ({ id: podId } = await createPod(world.runpod, podRequest(NAME)));
});
beforeEach(async () => {
  const address = await untilReachable(world.runpod, podId);
  relay = new Relay(address);
  pod = { ...READY, podId, podName: NAME, address: await relay.listen() };
  const { hostKey } = await world.ssh.exec({ podName: NAME, address, pinnedHostKey: null }, 'true', {
    timeoutMs: 20_000,
  });
  ({ registry } = fakePorts());
  registry.hostKeys.set(NAME, hostKey.blob);
  appended = [];
  const append = registry.appendJobLog.bind(registry);
  registry.appendJobLog = async (runId, jobId, from, text) => {
    await append(runId, jobId, from, text);
    appended.push({ from, to: from + Buffer.byteLength(text) });
  };
});
afterEach(async () => {
  // Kept connections of a broken network must not meet the next test.
  world.ssh.close();
  await relay.refuse();
});
afterAll(async () => {
  await world.close();
  await rm(scratch, { recursive: true, force: true });
});

interface Attempt {
  generation?: number;
  heartbeatDetails?: unknown;
  settings?: Parameters<typeof fakePorts>[0];
  stallAfterMs?: number;
  by?: JobCode;
}

/** One attempt of an activity, as a worker of the given code version runs it. */
function worker({ generation = 1, heartbeatDetails, settings, by = code }: Attempt = {}) {
  const { deps } = fakePorts(settings);
  // The provider knows the pod by its own address; the relay's is what the run was given.
  const pods = Object.assign(Object.create(world.runpod) as typeof world.runpod, {
    getPod: async (id: string) => {
      const found = await world.runpod.getPod(id);
      return found && { ...found, ssh: pod.address };
    },
  });
  const activities = createActivities({ ...deps, ssh: world.ssh, pods, registry, jobCode: () => Promise.resolve(by) });
  const environment = new MockActivityEnvironment(
    { currentAttemptScheduledTimestampMs: generation, heartbeatDetails },
    { logger: new DefaultLogger('ERROR', () => undefined) },
  );
  const heartbeats: FollowDetails[] = [];
  environment.on('heartbeat', (details: FollowDetails) => heartbeats.push(details));
  type Input<N extends keyof Activities> = Parameters<Activities[N]>[0];
  type Result<N extends keyof Activities> = Awaited<ReturnType<Activities[N]>>;
  const run = <N extends keyof Activities>(name: N, input: Input<N>): Promise<Result<N>> => {
    const activity = activities[name] as unknown as (input: unknown) => Promise<Result<N>>;
    return environment.run<[unknown], Result<N>, typeof activity>(activity, input);
  };
  return { run, heartbeats };
}

async function start(params: Record<string, string | number>, by = code): Promise<string> {
  const jobId = `job-${nextJob++}`;
  const { run } = worker({ by });
  const ref = { run: RUN, pod, jobId, stage: 'merge' as const };
  await run('startJob', { ...ref, toolchain: 'rehearsal', params, needsHubToken: 'none' });
  return jobId;
}

function follow(jobId: string, attempt: Attempt = {}) {
  const { run, heartbeats } = worker(attempt);
  const input = { run: RUN, pod, jobId, stage: 'merge' as const, stallAfterMs: attempt.stallAfterMs ?? 60_000 };
  const outcome = run('followJob', input);
  // Looked at later; until then it is nobody's rejection.
  outcome.catch(() => undefined);
  return { outcome, heartbeats };
}

const onPod = (jobId: string, file: string): string =>
  join(world.stateDir, 'pods', podId, 'workspace', 'anneal', 'jobs', jobId, file);

/** Everything the job wrote is stored, once and in order, and no offset ever went back. */
async function expectWhole(jobId: string, heartbeats: readonly FollowDetails[]): Promise<void> {
  const log = await readFile(onPod(jobId, 'log.txt'), 'utf8');
  expect(registry.logs.get(jobId)).toBe(log);
  let stored = 0;
  for (const { from, to } of appended) {
    expect(from).toBeLessThanOrEqual(stored);
    stored = Math.max(stored, to);
  }
  for (const offsets of [heartbeats.map(({ offset }) => offset), heartbeats.map(({ logOffset }) => logOffset)]) {
    expect(offsets).toEqual([...offsets].sort((a, b) => a - b));
  }
  const size = (await readFile(onPod(jobId, 'events.jsonl'))).length;
  expect(heartbeats.at(-1)).toMatchObject({ offset: size, logOffset: Buffer.byteLength(log) });
}

const SUCCEEDED = { kind: 'succeeded', result: { shards: 1, changedTensors: 0, totalBytes: 1 } };

test('a network that is cut again and again loses nothing and doubles nothing', async () => {
  const jobId = await start({ kind: 'steady', steps: 40 });
  const before = relay.accepted;
  const { outcome, heartbeats } = follow(jobId);
  let over = false;
  void outcome.finally(() => (over = true)).catch(() => undefined);
  for (let cuts = 0; cuts < 3 && !over; cuts++) {
    const told = relay.bytesBack;
    await until(async () => {
      await pause(20);
      return over || relay.bytesBack > told + 4_000;
    });
    relay.cut();
  }
  await expect(outcome).resolves.toEqual(SUCCEEDED);
  expect(relay.accepted - before).toBeGreaterThanOrEqual(3);
  await expectWhole(jobId, heartbeats);
});

test('a stream that ends after so many bytes, in the middle of a line, is taken up at the last whole one', async () => {
  const jobId = await start({ kind: 'steady', steps: 30 });
  const { faults } = world.simulator;
  for (const afterBytes of [1_201, 777, 1_499]) {
    faults.add({ target: 'pod', operation: 'exec', action: { kind: 'cut', afterBytes }, times: 1 });
  }
  const { outcome, heartbeats } = follow(jobId);
  await expect(outcome).resolves.toEqual(SUCCEEDED);
  expect(faults.list()).toEqual([]);
  await expectWhole(jobId, heartbeats);
});

test('a channel that hangs in the middle of the stream is left after five missing beats', async () => {
  const jobId = await start({ kind: 'steady', steps: 20 });
  const { outcome, heartbeats } = follow(jobId);
  await until(() => Promise.resolve(heartbeats.at(-1)?.progress?.phase === 'work'));
  const at = Date.now();
  relay.hang();
  await expect(outcome).resolves.toEqual(SUCCEEDED);
  expect(Date.now() - at).toBeGreaterThan(9_000);
  await expectWhole(jobId, heartbeats);
});

test('a pod that refuses connections is tried until the deadline; the next attempt goes on where the last one was', async () => {
  const jobId = await start({ kind: 'steady', steps: 25 });
  const first = follow(jobId, { settings: { reconnectLimitMs: 1_200 } });
  await until(() => Promise.resolve((first.heartbeats.at(-1)?.offset ?? 0) > 500));
  await relay.refuse();
  expect(await rejection(first.outcome)).toMatchObject({
    type: 'SshUnreachable',
    nonRetryable: false,
    message: expect.stringContaining(`no contact with ${NAME}`),
  });
  const heartbeatDetails = first.heartbeats.at(-1);
  // While the network was away, silence was counted, because the provider said that the pod runs.
  expect(heartbeatDetails?.silentMs).toBeGreaterThan(1_000);
  await relay.listen();
  const second = follow(jobId, { generation: 2, heartbeatDetails });
  await expect(second.outcome).resolves.toEqual(SUCCEEDED);
  await expectWhole(jobId, [...first.heartbeats, ...second.heartbeats]);
});

test('a job that lives and does nothing is stalled', async () => {
  const jobId = await start({ kind: 'still' });
  const outcome = await follow(jobId, { stallAfterMs: 1_500 }).outcome;
  expect(outcome).toEqual({ kind: 'stalled', idleMs: expect.any(Number) });
  expect(registry.logs.get(jobId)).toContain('"type":"started"');
  const { run } = worker();
  await run('stopJob', { run: RUN, pod, jobId, stage: 'merge', graceMs: 5_000 });
  await follow(jobId).outcome;
});

test.each(['lines', 'one line', 'events'])(
  'a job that floods its follower with %s is followed to its end',
  async (kind) => {
    const jobId = await start({ kind });
    const at = Date.now();
    const told = relay.bytesBack;
    const { outcome, heartbeats } = follow(jobId);
    await expect(outcome).resolves.toEqual(SUCCEEDED);
    const log = registry.logs.get(jobId) ?? '';
    expect(log).toMatch(/the last words\n.*"succeeded".*\n$/);
    if (kind !== 'events') expect(log).toMatch(/bytes left out|bytes of this line left out/);
    expect(log.length).toBeLessThan(1_500_000);
    expect(relay.bytesBack - told).toBeLessThan(4_000_000);
    // Four in a second at most, and one each where following begins, stores its last and ends.
    expect(heartbeats.length).toBeLessThanOrEqual(((Date.now() - at) / 1_000) * 4 + 3);
    expect(Math.max(...heartbeats.map((details) => JSON.stringify(details).length))).toBeLessThan(2_000);
  },
);

test('of two followers the older attempt ends, says so, and does not come back', async () => {
  const jobId = await start({ kind: 'steady', steps: 40 });
  const older = follow(jobId, { generation: 1_000 });
  await until(() => Promise.resolve(older.heartbeats.at(-1)?.progress?.phase === 'work'));
  const newer = follow(jobId, { generation: 2_000 });
  const superseded = {
    type: 'SshUnreachable',
    nonRetryable: false,
    message: `this attempt was superseded: a newer follower has taken over ${jobId}`,
  };
  expect(await rejection(older.outcome)).toMatchObject(superseded);
  // One whose network was away comes back late: it must not take the job from the newer one.
  await until(() => Promise.resolve(newer.heartbeats.at(-1)?.progress?.phase === 'work'));
  const connections = relay.accepted;
  expect(await rejection(follow(jobId, { generation: 1_000 }).outcome)).toMatchObject(superseded);
  await expect(newer.outcome).resolves.toEqual(SUCCEEDED);
  // The newer one needed no connection but its first.
  expect(relay.accepted - connections).toBeLessThanOrEqual(1);
  const log = await readFile(onPod(jobId, 'log.txt'), 'utf8');
  expect(registry.logs.get(jobId)).toBe(log);
});

test('a newer worker follows a job that an older one started: its supervisor runs on', async () => {
  const jobId = await start({ kind: 'steady', steps: 15 });
  expect(newerCode.digest).not.toBe(code.digest);
  const { outcome, heartbeats } = follow(jobId, { by: newerCode });
  await expect(outcome).resolves.toEqual(SUCCEEDED);
  await expectWhole(jobId, heartbeats);
});

test('a job of a protocol that this worker cannot read is refused with both versions and the next step; it runs on', async () => {
  const jobId = await start({ kind: 'steady', steps: 15 });
  const path = onPod(jobId, 'job.json');
  const job = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  await writeFile(path, JSON.stringify({ ...job, protocol: 0 }));
  expect(await rejection(follow(jobId, { by: newerCode }).outcome)).toMatchObject({
    type: 'JobFailed',
    nonRetryable: true,
    message: `supervisor: job ${jobId} was started with protocol 0, this worker reads 1`,
    details: [{ class: 'ProtocolMismatch', advice: expect.stringContaining('anneal run resume') }],
  });
  await writeFile(path, JSON.stringify(job));
  await expect(follow(jobId).outcome).resolves.toEqual(SUCCEEDED);
});
