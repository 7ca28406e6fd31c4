import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { CancelledFailure } from '@temporalio/common';
import type { SupervisorLine } from '../../contract/job-protocol.ts';
import type { PodJobStage } from '../../contract/stage-names.ts';
import type { FollowDetails } from '../../contract/stages.ts';
import { SshError } from '../../services/ssh/errors.ts';
import {
  activityWorld,
  POD_NAME,
  READY,
  rejection,
  RUN,
  type ActivityWorld,
  type ActivityWorldOptions,
} from '../support/fake-ports-activity.ts';
import { runPodError, type ChannelStep } from '../support/fake-ports.ts';

type JobExit = Extract<SupervisorLine, { type: 'exit' }>['exit'];

const AT = '2026-01-01T00:00:00.000Z';
const event = (offset: number, fields: { type: string } & Record<string, unknown>): SupervisorLine => ({
  type: 'event',
  offset,
  event: { at: AT, ...fields },
});
const progress = (offset: number, done: number): SupervisorLine =>
  event(offset, { type: 'progress', phase: 'trials', done, total: 8, unit: 'trials' });
const beat = (progressAgeSeconds = 0, alive = true): SupervisorLine => ({
  type: 'beat',
  at: AT,
  offset: 0,
  alive,
  progressAgeSeconds,
});
const exit = (changes: Partial<JobExit> = {}, result: unknown = null): SupervisorLine => ({
  type: 'exit',
  exit: {
    protocol: 1,
    jobId: 'job-1',
    outcome: 'succeeded',
    exitCode: 0,
    signal: null,
    startedAt: AT,
    endedAt: AT,
    failure: null,
    ...changes,
  },
  result,
});
const logPiece = (from: number, text: string): SupervisorLine => ({
  type: 'log',
  from,
  to: from + Buffer.byteLength(text),
  text,
});
const details = (changes: Partial<FollowDetails> = {}): FollowDetails => ({
  jobId: 'job-1',
  offset: 240,
  logOffset: 0,
  attempt: 1,
  silentMs: 0,
  progress: null,
  trials: [],
  usage: null,
  ...changes,
});
const MERGED = { shards: 2, changedTensors: ['a'], totalBytes: 9 };
const DONE = exit({}, MERGED);

/** A pod whose key is pinned, and the channels its follower will see. */
function jobWorld(channels: ChannelStep[][], options: ActivityWorldOptions = {}): ActivityWorld {
  const world = activityWorld(options);
  world.pods.add({ ssh: READY.address });
  world.registry.hostKeys.set(POD_NAME, world.ssh.hostKey.blob);
  world.ssh.channels = channels;
  return world;
}
const ref = (stage: PodJobStage = 'merge') => ({ run: RUN, pod: READY, jobId: 'job-1', stage });
const follow = (world: ActivityWorld, stage: PodJobStage = 'merge') =>
  world.run('followJob', { ...ref(stage), stallAfterMs: 60_000 });
const followCommands = (world: ActivityWorld): string[] =>
  world.ssh.commands.map(({ command }) => command).filter((command) => command.includes(' follow '));

describe('following a job', () => {
  test('hands back the parsed result and keeps the log', async () => {
    const world = jobWorld([[beat(), logPiece(0, 'one\n'), logPiece(4, 'two\n'), DONE]]);
    await expect(follow(world)).resolves.toEqual({
      kind: 'succeeded',
      result: { shards: 2, changedTensors: 1, totalBytes: 9 },
    });
    expect(world.registry.logs.get('job-1')).toBe('one\ntwo\n');
    expect(world.ssh.closedStreams).toBe(1);
  });

  test('heartbeats carry offset and progress; the last one carries the end', async () => {
    const passed = () => pause(260);
    const world = jobWorld([
      [
        progress(120, 1),
        passed,
        beat(),
        passed,
        progress(240, 2),
        event(300, { type: 'note' }),
        logPiece(0, 'a\n'),
        DONE,
      ],
    ]);
    await follow(world);
    expect((world.heartbeats as FollowDetails[]).map(({ offset }) => offset)).toEqual([0, 120, 240, 300]);
    expect(world.heartbeats.at(-1)).toEqual({
      jobId: 'job-1',
      offset: 300,
      logOffset: 2,
      attempt: 1,
      silentMs: 0,
      progress: { phase: 'trials', done: 2, total: 8, unit: 'trials', note: '', perSecond: null },
      trials: [],
      usage: { gpu: null, memory: null, diskFreeBytes: null },
    });
  });

  test('ten thousand events are a few heartbeats, and small ones', async () => {
    const long = 'x'.repeat(10_000);
    const many = Array.from({ length: 10_000 }, (_, at) =>
      event(
        at + 1,
        at % 2 === 0 ? { type: 'trial', index: at, projection: at / 7, best: at % 100 === 0 } : { type: 'note' },
      ),
    );
    const gpu = { name: long, count: 8, utilizationPercent: 93.25, memoryUsedBytes: 6.1e10, memoryTotalBytes: 8e10 };
    const used = { ...beat(), gpu, rssBytes: 1.2e10, memoryLimitBytes: 1.3e11, diskFreeBytes: 4e11 } as SupervisorLine;
    const wide = event(10_001, { type: 'progress', phase: long, done: 1, total: 2, unit: long, note: long });
    const world = jobWorld([[...many, wide, used, exit({ outcome: 'stopped' })]]);
    await follow(world, 'ablate');
    expect(world.heartbeats.length).toBeLessThan(60);
    expect(world.heartbeats.at(-1)).toMatchObject({
      offset: 10_001,
      trials: { length: 24 },
      usage: { gpu: { count: 8 } },
    });
    expect(JSON.stringify(world.heartbeats.at(-1)).length).toBeLessThan(2_000);
  });

  test('offsets only grow: what was told before is not taken again', async () => {
    const trial = (offset: number) => event(offset, { type: 'trial', index: offset, projection: 0.5 });
    const world = jobWorld([
      [trial(100), trial(200), logPiece(0, 'one\n'), new SshError('cut', 'connection')],
      [trial(100), trial(200), trial(300), logPiece(0, 'one\n'), logPiece(4, 'two\n'), DONE],
    ]);
    await follow(world);
    const offsets = (world.heartbeats as FollowDetails[]).map(({ offset }) => offset);
    expect(offsets).toEqual([...offsets].sort((a, b) => a - b));
    expect(world.heartbeats.at(-1)).toMatchObject({ offset: 300, logOffset: 8, trials: { length: 3 } });
    expect(world.registry.logs.get('job-1')).toBe('one\ntwo\n');
    expect(followCommands(world)[1]).toContain('--from 200 --log-from 4 ');
  });

  test('a GPU that says something unreadable is left out, and the job goes on', async () => {
    const odd = { ...beat(), gpu: { name: 7 }, rssBytes: 5 } as unknown as SupervisorLine;
    const world = jobWorld([[odd, DONE]]);
    await expect(follow(world)).resolves.toMatchObject({ kind: 'succeeded' });
    expect(world.heartbeats.at(-1)).toMatchObject({ usage: { gpu: null, memory: { usedBytes: 5, limitBytes: null } } });
  });

  test('a retry goes on at the offset its predecessor reached', async () => {
    const heartbeatDetails = details({ logOffset: 17, trials: [{ score: 0.5, best: true }] });
    const world = jobWorld([[DONE]], { heartbeatDetails, attempt: 2 });
    await follow(world);
    expect(followCommands(world)).toEqual([expect.stringContaining('follow --job job-1 --from 240 --log-from 17 ')]);
    expect(world.heartbeats[0]).toMatchObject({ trials: [{ score: 0.5 }] });
    expect(world.heartbeats[0]).toMatchObject({ offset: 240, attempt: 2 });
  });

  test.each([
    ['of another job', details({ jobId: 'job-0' })],
    ['of another shape', { waitingFor: [] }],
    ['that are missing', undefined],
  ])('details %s start from the beginning', async (_what, heartbeatDetails) => {
    const world = jobWorld([[DONE]], { heartbeatDetails });
    await follow(world);
    expect(followCommands(world)[0]).toContain('--from 0 ');
  });

  test('every attempt names itself, so that a stale one can be fenced off', async () => {
    const first = jobWorld([[DONE]]);
    await follow(first);
    const second = jobWorld([[DONE]], { attempt: 2 });
    await follow(second);
    const token = (world: ActivityWorld) =>
      /--follower ([0-9a-f]{16}) --generation \d+$/.exec(followCommands(world)[0] ?? '')?.[1];
    expect(token(first)).toBeDefined();
    expect(token(second)).not.toBe(token(first));
  });

  test('a cut channel is opened again from the last offset', async () => {
    const world = jobWorld([[progress(120, 1), new SshError('cut', 'connection')], [DONE]]);
    await expect(follow(world)).resolves.toMatchObject({ kind: 'succeeded' });
    expect(followCommands(world).map((command) => /--from (\d+)/.exec(command)?.[1])).toEqual(['0', '120']);
  });

  test('gives up the attempt when there is no contact for too long', async () => {
    const silent = [new SshError('silent', 'connection')];
    const world = jobWorld([silent, silent, silent], { settings: { reconnectLimitMs: 0 } });
    expect(await rejection(follow(world))).toMatchObject({ type: 'SshUnreachable', nonRetryable: false });
  });

  describe('a host that is dead while the provider says it is running', () => {
    const silence = new SshError('timed out', 'connection');
    const after = (silentMs: number): ActivityWorldOptions => ({
      heartbeatDetails: details({ attempt: 4, silentMs }),
      attempt: 5,
      settings: { silentLimitMs: 600_000, reconnectLimitMs: 0 },
    });
    const lastSilence = (world: ActivityWorld) => (world.heartbeats.at(-1) as FollowDetails).silentMs;

    test('counts as gone once it has been silent for too long over all attempts', async () => {
      await expect(follow(jobWorld([[silence]], after(600_000)))).resolves.toEqual({
        kind: 'podGone',
        reason: 'pod pod-1 has not answered over SSH for 10m 00s although RunPod says it is RUNNING (timed out)',
      });
    });

    test('an attempt that gives up hands on how long it was silent', async () => {
      const first = jobWorld([[() => pause(20), silence]], after(300_000));
      expect(await rejection(follow(first))).toMatchObject({ type: 'SshUnreachable', nonRetryable: false });
      expect(lastSilence(first)).toBeGreaterThanOrEqual(300_015);
      expect(lastSilence(first)).toBeLessThan(310_000);
    });

    test('contact ends the silence', async () => {
      const world = jobWorld([[beat(), DONE]], after(599_999));
      await expect(follow(world)).resolves.toMatchObject({ kind: 'succeeded' });
      expect(lastSilence(world)).toBe(0);
    });

    test('while the provider does not answer either, it is our own network: tried on, and not counted', async () => {
      const world = jobWorld([[() => pause(20), silence]], after(700_000));
      world.pods.onGetPod = () => {
        throw runPodError('unavailable', 'Network');
      };
      expect(await rejection(follow(world))).toMatchObject({ type: 'SshUnreachable', nonRetryable: false });
      expect(lastSilence(world)).toBe(700_000);
    });

    test('details of an older worker, which counted no silence, start at none', async () => {
      const heartbeatDetails = { jobId: 'job-1', offset: 240, attempt: 1, progress: null };
      const world = jobWorld([[DONE]], { heartbeatDetails, attempt: 2 });
      await follow(world);
      expect(world.heartbeats[0]).toMatchObject({ offset: 240, silentMs: 0 });
    });
  });

  test.each<[string, (world: ActivityWorld) => void, string]>([
    ['no longer exists', ({ pods }) => pods.pods.clear(), 'no longer exists'],
    [
      'stopped',
      ({ pods }) => {
        pods.add({ id: 'pod-1', desiredStatus: 'EXITED' });
      },
      'EXITED',
    ],
    [
      'came back at another address',
      ({ pods }) => {
        pods.add({ id: 'pod-1', ssh: { host: '10.0.0.1', port: 2222 } });
      },
      'restarted by the provider',
    ],
  ])('a pod that %s ends the follower with podGone', async (_what, lose, reason) => {
    const world = jobWorld([]);
    world.ssh.channels = [[() => lose(world), new SshError('cut', 'connection')]];
    await expect(follow(world)).resolves.toEqual({ kind: 'podGone', reason: expect.stringContaining(reason) });
    expect(world.registry.logs.size).toBe(0);
  });

  test('a provider that cannot be asked is no proof that the pod is gone', async () => {
    const world = jobWorld([[new SshError('cut', 'connection')], [DONE]]);
    world.pods.onGetPod = () => {
      throw runPodError('unavailable');
    };
    await expect(follow(world)).resolves.toMatchObject({ kind: 'succeeded' });
  });

  test('a job that is alive but stands still is stalled; one that is slow is not', async () => {
    const world = jobWorld([[beat(59), beat(61)]]);
    await expect(follow(world)).resolves.toEqual({ kind: 'stalled', idleMs: 61_000 });
    expect(world.ssh.closedStreams).toBe(1);
  });

  test('a follower that was superseded ends this attempt only and comes back to nobody', async () => {
    const world = jobWorld([[{ type: 'fenced' }], [DONE]]);
    expect(await rejection(follow(world))).toMatchObject({
      type: 'SshUnreachable',
      nonRetryable: false,
      message: 'this attempt was superseded: a newer follower has taken over job-1',
    });
    expect(followCommands(world)).toHaveLength(1);
  });

  test('a pod without the code of this version is given it, once, and the job is followed', async () => {
    const missing = () => new SshError("the command exited with 2: cd: can't cd", 'remote', 2);
    const world = jobWorld([[missing()], [DONE]]);
    await expect(follow(world)).resolves.toMatchObject({ kind: 'succeeded' });
    expect(world.ssh.commands.filter(({ stdin }) => stdin === 'code')).toHaveLength(1);
    const hopeless = jobWorld([[missing()], [missing()], [missing()]], { settings: { reconnectLimitMs: 1_500 } });
    expect(await rejection(follow(hopeless))).toMatchObject({ type: 'SshUnreachable' });
    expect(hopeless.ssh.commands.filter(({ stdin }) => stdin === 'code')).toHaveLength(1);
  });

  test('a job of another protocol fails for good, with both versions and what to do', async () => {
    const message = 'job job-1 was started with protocol 0, this worker reads 1';
    const line: SupervisorLine = { type: 'error', code: 'ProtocolMismatch', message };
    expect(await rejection(follow(jobWorld([[line]])))).toMatchObject({
      type: 'JobFailed',
      nonRetryable: true,
      message: `supervisor: ${message}`,
      details: [{ class: 'ProtocolMismatch', advice: expect.stringContaining('anneal run resume') }],
    });
  });

  test.each<[string, SupervisorLine]>([
    ['died without a word', { type: 'lost' }],
    ['is not known on this pod', { type: 'error', code: 'UnknownJob', message: 'no such job' }],
  ])('a job that %s is lost', async (_what, line) => {
    await expect(follow(jobWorld([[line]]))).resolves.toEqual({ kind: 'lost' });
  });

  test('another error of the supervisor fails for good, with its class', async () => {
    const line: SupervisorLine = { type: 'error', code: 'BadProtocol', message: 'version 2' };
    expect(await rejection(follow(jobWorld([[line]])))).toMatchObject({
      type: 'JobFailed',
      nonRetryable: true,
      details: [{ class: 'BadProtocol' }],
    });
  });

  test.each<[string, Partial<JobExit>, unknown]>([
    ['stopped', { outcome: 'stopped' }, { kind: 'stopped' }],
    [
      'failed with a reason',
      { outcome: 'failed', exitCode: 1, failure: { class: 'Oom', message: 'm', advice: 'a' } },
      { kind: 'failed', failure: { class: 'Oom', message: 'm', advice: 'a' } },
    ],
    [
      'was killed',
      { outcome: 'failed', exitCode: null, signal: 'SIGKILL' },
      { kind: 'failed', failure: { class: 'JobCrashed', message: 'exit SIGKILL', advice: '' } },
    ],
  ])('a job that %s is an outcome, not an error', async (_what, change, outcome) => {
    await expect(follow(jobWorld([[exit(change)]]))).resolves.toEqual(outcome);
  });

  test.each(['Traceback (most recent call last):', '{"type":"beat"', '{"type":"song"}', '[]'])(
    'the line %s fails for good instead of being skipped',
    async (line) => {
      expect(await rejection(follow(jobWorld([[line, DONE]])))).toMatchObject({
        type: 'JobFailed',
        nonRetryable: true,
      });
    },
  );

  test('a result of an unknown shape fails for good', async () => {
    expect(await rejection(follow(jobWorld([[exit({}, { shards: 'two' })]])))).toMatchObject({ type: 'JobFailed' });
  });

  test('an unknown event type passes: a newer job may say more', async () => {
    const world = jobWorld([[event(10, { type: 'fanfare', loud: true }), DONE]]);
    await expect(follow(world)).resolves.toMatchObject({ kind: 'succeeded' });
  });

  test('when the beats stop, so do the heartbeats', async () => {
    const world = jobWorld([]);
    let waiting = () => {};
    const silence = new Promise<void>((resolve) => (waiting = resolve));
    let heard = -1;
    world.ssh.channels = [
      [
        beat(),
        async () => {
          heard = world.heartbeats.length;
          // Longer than the interval at which other activities beat beside their work.
          setTimeout(waiting, 2_200);
          await silence;
          expect(world.heartbeats).toHaveLength(heard);
        },
        DONE,
      ],
    ];
    await expect(follow(world)).resolves.toMatchObject({ kind: 'succeeded' });
    // The wait itself was silent; what follows is the end.
    expect(world.heartbeats.length).toBeGreaterThan(heard);
  });

  test('a cancel ends the follower at once and closes its channel', async () => {
    const world = jobWorld([]);
    world.ssh.channels = [[beat(), logPiece(0, 'heard\n'), () => world.cancel(), DONE]];
    expect(await rejection(follow(world))).toBeInstanceOf(CancelledFailure);
    expect(world.registry.logs.get('job-1')).toBe('heard\n');
    expect(world.ssh.closedStreams).toBe(1);
  });

  test('nothing is started or stopped by following', async () => {
    const world = jobWorld([[DONE]]);
    await follow(world);
    const commands = world.ssh.commands.map(({ command }) => command).join('\n');
    expect(commands).not.toMatch(/anneal_job (start|stop)/);
  });

  test('every connection insists on the pinned host key', async () => {
    const world = jobWorld([[DONE]]);
    await follow(world);
    expect(world.ssh.commands.every(({ pinned }) => pinned === world.ssh.hostKey.blob)).toBe(true);
  });

  test('a pod without a pinned key is not spoken to', async () => {
    const world = jobWorld([[DONE]]);
    world.registry.hostKeys.clear();
    expect(await rejection(follow(world))).toMatchObject({ type: 'HostKeyMismatch' });
    expect(world.ssh.commands).toEqual([]);
  });

  test('a log that cannot be kept does not cost the result', async () => {
    const world = jobWorld([]);
    world.ssh.channels = [
      [
        logPiece(0, 'lost\n'),
        () => {
          world.registry.down = true;
        },
        DONE,
      ],
    ];
    await expect(follow(world)).resolves.toMatchObject({ kind: 'succeeded' });
    expect(world.heartbeats.at(-1)).toMatchObject({ logOffset: 0 });
  });

  test('while the database is away the newest of the log waits, in bounded memory', async () => {
    const world = jobWorld([]);
    world.registry.down = true;
    const pieces = Array.from({ length: 100 }, (_, at) => logPiece(at * 10_000, `${String(at).padEnd(9_999)}\n`));
    world.ssh.channels = [
      [
        ...pieces,
        () => {
          world.registry.down = false;
        },
        DONE,
      ],
    ];
    await follow(world);
    expect(world.registry.logs.get('job-1')?.length).toBeLessThan(270_000);
    expect(world.registry.logs.get('job-1')?.trimEnd().endsWith('99')).toBe(true);
    expect(world.heartbeats.at(-1)).toMatchObject({ logOffset: 1_000_000 });
  });

  test('a pod that is gone leaves what it had told', async () => {
    const world = jobWorld([]);
    world.ssh.channels = [
      [logPiece(0, 'the last\n'), () => world.pods.pods.clear(), new SshError('cut', 'connection')],
    ];
    await expect(follow(world)).resolves.toMatchObject({ kind: 'podGone' });
    expect(world.registry.logs.get('job-1')).toBe('the last\n');
  });

  test('progress has a rate by the pod’s clock, and a new phase begins anew', async () => {
    const at = (offset: number, second: number, done: number, phase = 'download'): SupervisorLine => ({
      type: 'event',
      offset,
      event: {
        type: 'progress',
        at: `2026-01-01T00:00:${String(second).padStart(2, '0')}.000Z`,
        phase,
        done,
        total: 900,
        unit: 'bytes',
      },
    });
    const rates: unknown[] = [];
    const world = jobWorld([]);
    world.onHeartbeat((beaten) => rates.push((beaten as FollowDetails).progress?.perSecond));
    const passed = () => pause(260);
    world.ssh.channels = [
      [
        passed,
        at(1, 0, 100),
        passed,
        at(2, 10, 300),
        passed,
        at(3, 20, 700),
        passed,
        at(4, 21, 1, 'hash'),
        passed,
        DONE,
      ],
    ];
    await follow(world);
    expect([...new Set(rates.slice(1))]).toEqual([null, 20, 30]);
    expect(rates.at(-1)).toBeNull();
  });
});

describe('checkpoints while an ablation grows', () => {
  const trial = (offset: number): SupervisorLine => event(offset, { type: 'trial', index: 1 });
  const stopped = exit({ outcome: 'stopped' });

  test('a trial copies the journal into the registry', async () => {
    const world = jobWorld([[trial(1), stopped]]);
    await expect(follow(world, 'ablate')).resolves.toEqual({ kind: 'stopped' });
    expect(world.registry.checkpoints.get('run-1')).toMatchObject({ stage: 'ablate', bytes: world.ssh.archive });
  });

  test('not more often than configured', async () => {
    const world = jobWorld([[trial(1), trial(2), stopped]], { settings: { checkpointEveryMs: 60_000 } });
    await follow(world, 'ablate');
    expect(world.registry.checkpoints.size).toBe(0);
  });

  test('a copy that fails costs nothing but the copy', async () => {
    const world = jobWorld([[trial(1), stopped]]);
    world.registry.down = true;
    await expect(follow(world, 'ablate')).resolves.toEqual({ kind: 'stopped' });
  });

  test('other stages have no journal to copy', async () => {
    const world = jobWorld([[trial(1), DONE]]);
    await follow(world);
    expect(world.registry.checkpoints.size).toBe(0);
  });

  test('what was saved is put onto a new pod; where nothing was saved nothing is', async () => {
    const world = jobWorld([]);
    const input = { run: RUN, pod: READY, stage: 'ablate' as const };
    const restore = { ...input, given: null };
    await expect(world.run('restoreCheckpoint', restore)).resolves.toEqual({ restored: false });
    const { bytes } = await world.run('saveCheckpoint', input);
    expect(bytes).toBe(world.ssh.archive.length);
    await expect(world.run('restoreCheckpoint', restore)).resolves.toEqual({ restored: true });
    expect(world.ssh.commands.at(-1)?.stdin).toBe('adapter');
  });

  test('a further run takes over the very checkpoint that it was given, and no other', async () => {
    const world = jobWorld([]);
    const { sha256 } = await world.run('saveCheckpoint', { run: RUN, pod: READY, stage: 'ablate' });
    const next = { run: { ...RUN, runId: 'run-2' }, pod: READY, stage: 'ablate' as const };
    const given = { runId: RUN.runId, sha256 };
    await expect(world.run('restoreCheckpoint', { ...next, given })).resolves.toEqual({ restored: true });
    const other = { ...given, sha256: 'f'.repeat(64) };
    expect(await rejection(world.run('restoreCheckpoint', { ...next, given: other }))).toMatchObject({
      type: 'OutputMismatch',
    });
  });

  test('an empty folder replaces no earlier checkpoint', async () => {
    const world = jobWorld([]);
    const input = { run: RUN, pod: READY, stage: 'ablate' as const };
    await world.run('saveCheckpoint', input);
    world.ssh.archive = new Uint8Array();
    await expect(world.run('saveCheckpoint', input)).resolves.toMatchObject({ bytes: 0 });
    expect(Buffer.from(world.registry.checkpoints.get('run-1')?.bytes ?? []).toString()).toBe('adapter');
  });

  test('a damaged checkpoint reaches no pod', async () => {
    const world = jobWorld([]);
    const input = { run: RUN, pod: READY, stage: 'ablate' as const };
    await world.run('saveCheckpoint', input);
    const saved = world.registry.checkpoints.get('run-1');
    if (saved) world.registry.checkpoints.set('run-1', { ...saved, bytes: Buffer.from('damaged') });
    expect(await rejection(world.run('restoreCheckpoint', { ...input, given: null }))).toMatchObject({
      type: 'RegistryUnavailable',
    });
    expect(world.ssh.commands.map(({ stdin }) => stdin)).not.toContain('damaged');
  });
});

describe('starting and stopping a job', () => {
  const start = (world: ActivityWorld, needsHubToken: 'none' | 'read' | 'write') =>
    world.run('startJob', { ...ref('publish'), toolchain: 'rehearsal', params: { repo: 'a/b' }, needsHubToken });

  test('the Hub token travels on the stdin of start and nowhere else', async () => {
    const world = jobWorld([]);
    await expect(start(world, 'write')).resolves.toEqual({ state: 'started', attempt: 1 });
    const withSecret = world.ssh.commands.filter((sent) => JSON.stringify(sent).includes('hf_s3cret'));
    expect(withSecret).toHaveLength(1);
    expect(withSecret[0]?.command).toMatch(/anneal_job start$/);
    expect(withSecret[0]?.command).not.toContain('hf_s3cret');
    const sent = JSON.parse(withSecret[0]?.stdin ?? '') as { job: unknown; secrets: unknown };
    expect(sent.secrets).toEqual({ HF_TOKEN: 'hf_s3cret' });
    expect(JSON.stringify(sent.job)).not.toContain('hf_s3cret');
    expect(JSON.stringify(world.heartbeats)).not.toContain('hf_s3cret');
  });

  test('a job that needs no token gets none', async () => {
    const world = jobWorld([]);
    await start(world, 'none');
    expect(JSON.stringify(world.ssh.commands)).not.toContain('hf_s3cret');
  });

  test('the job is told its id, stage, parameters and which Hub to use', async () => {
    const world = jobWorld([]);
    await start(world, 'none');
    const { stdin } = world.ssh.commands.find(({ command }) => command.endsWith('start')) ?? { stdin: '' };
    expect(JSON.parse(stdin)).toMatchObject({
      protocol: 1,
      job: {
        jobId: 'job-1',
        stage: 'publish',
        toolchain: 'rehearsal',
        params: { repo: 'a/b', hubEndpoint: 'http://hub.test', disableXet: false },
      },
    });
  });

  test('the code is shipped once per version', async () => {
    const world = jobWorld([]);
    await start(world, 'none');
    await start(world, 'none');
    expect(world.ssh.commands.filter(({ stdin }) => stdin === 'code')).toHaveLength(1);
    expect(world.ssh.commands.at(-1)?.command).toContain('/code/code-digest && exec python3 -m anneal_job start');
  });

  test('code that cannot be unpacked starts nothing', async () => {
    const world = jobWorld([]);
    world.ssh.onExec = (command) =>
      command.includes('tar -xf') ? { exitCode: 2, stderr: 'No space left on device' } : undefined;
    expect(await rejection(start(world, 'none'))).toMatchObject({
      type: 'SshUnreachable',
      message: expect.stringContaining('No space left'),
    });
    expect(world.ssh.commands.some(({ command }) => command.endsWith('start'))).toBe(false);
  });

  test.each(['already', 'restarted'] as const)('a job that was there says "%s"', async (state) => {
    const world = jobWorld([]);
    world.ssh.onExec = (command) =>
      command.endsWith('start')
        ? { stdout: JSON.stringify({ type: 'started', protocol: 1, jobId: 'job-1', state, attempt: 2 }) }
        : undefined;
    await expect(start(world, 'none')).resolves.toEqual({ state, attempt: 2 });
  });

  test('a supervisor that refuses fails for good; one that says nothing may be asked again', async () => {
    const world = jobWorld([]);
    const answer = (stdout: string) => {
      world.ssh.onExec = (command) =>
        command.endsWith('start') ? { stdout, stderr: 'no python', exitCode: 127 } : undefined;
      return rejection(start(world, 'none'));
    };
    const refusal = JSON.stringify({ type: 'error', code: 'BadRequest', message: 'no such stage' });
    expect(await answer(refusal)).toMatchObject({ type: 'JobFailed', details: [{ class: 'BadRequest' }] });
    expect(await answer('\n')).toMatchObject({
      type: 'SshUnreachable',
      nonRetryable: false,
      message: expect.stringContaining('no python'),
    });
  });

  test('a stop carries the job and its grace in seconds', async () => {
    const world = jobWorld([]);
    await world.run('stopJob', { ...ref(), graceMs: 120_000 });
    expect(world.ssh.commands.at(-1)?.command).toContain('stop --job job-1 --grace-seconds 120');
  });
});
