import { describe, expect, test } from '@jest/globals';
import { CancelledFailure } from '@temporalio/common';
import type { PodRequestInput } from '../../contract/activities.ts';
import type { LadderRung, PodPlan } from '../../contract/stages.ts';
import { runningDiskRate, stoppedDiskRate } from '../../domain/disk-prices.ts';
import { addUsd, fromUsd } from '../../domain/money.ts';
import type { CreateOptions } from '../../services/runpod/port.ts';
import { SshError } from '../../services/ssh/errors.ts';
import { activityWorld, MONEY, POD_NAME, READY, rejection, RUN, without } from '../support/fake-ports-activity.ts';
import { anOffer, runPodError } from '../support/fake-ports.ts';
import { aPlan } from '../support/specs.ts';

const rung = (gpuTypeId: string, changes: Partial<LadderRung> = {}): LadderRung => ({
  gpuTypeId,
  gpuCount: 1,
  cloud: 'SECURE',
  dataCenterId: null,
  pricePerHour: fromUsd(3.6),
  stock: 'High',
  memoryGb: 80,
  ...changes,
});
const [POD_PLAN] = aPlan().pods as [PodPlan];
const request = (changes: Partial<PodRequestInput> = {}, ladder = POD_PLAN.ladder): PodRequestInput => ({
  run: RUN,
  podName: POD_NAME,
  plan: { ...aPlan(), needs: POD_PLAN.needs, ladder },
  maxPricePerHour: null,
  remaining: fromUsd(12),
  capacityWaitMs: 0,
  lifetimeMs: 3_600_000,
  ...changes,
});
const DEADLINE_MS = Date.now() + 3_600_000;
const LEASE = without(READY, 'address');

describe('creating a pod', () => {
  test('walks the ladder past what has no stock, is too dear or is refused, and says what it tried', async () => {
    const world = activityWorld();
    world.pods.offers = [
      anOffer({ gpuTypeId: 'A', stock: 'None' }),
      anOffer({ gpuTypeId: 'B', pricePerHour: fromUsd(9) }),
      anOffer({ gpuTypeId: 'C' }),
      anOffer({ gpuTypeId: 'D' }),
    ];
    const create = world.pods.onCreate;
    world.pods.onCreate = (sent) =>
      sent.gpuTypeId === 'C' ? { kind: 'noCapacity', message: 'none left' } : create(sent);
    const ladder = ['X', 'A', 'B', 'C', 'D', 'E'].map((gpu) => rung(gpu));
    const outcome = await world.run('createPod', request({ maxPricePerHour: fromUsd(4) }, ladder));
    expect(outcome).toMatchObject({
      kind: 'created',
      lease: {
        gpuTypeId: 'D',
        tried: [
          'X (SECURE): not in the catalogue now',
          'A (SECURE): no stock',
          'B (SECURE): above the price cap now',
          'C (SECURE): no instance available',
        ],
      },
    });
    expect(world.pods.creates.map(({ gpuTypeId }) => gpuTypeId)).toEqual(['C', 'D']);
  });

  test('a lease costs what GPU and disks cost together', async () => {
    const outcome = await activityWorld().run('createPod', request());
    expect(outcome).toMatchObject({ lease: { ratePerHour: addUsd(fromUsd(3.6), runningDiskRate(20, 10)) } });
  });

  test('what is sent holds the marks by which the pod is found again, and no secret', async () => {
    const world = activityWorld();
    await world.run('createPod', request({}, [rung('NVIDIA H100 80GB HBM3', { dataCenterId: 'EU-1' })]));
    expect(world.pods.creates).toMatchObject([
      {
        name: POD_NAME,
        dataCenterId: 'EU-1',
        minMemoryGb: 3,
        minCudaVersion: null,
        ports: '22/tcp',
        volumeMountPath: '/workspace',
        env: { ANNEAL_SPEC_HASH: 'hash', PUBLIC_KEY: `ssh-ed25519 AAAA ${POD_NAME}` },
      },
    ]);
    expect(JSON.stringify(world.pods.creates)).not.toContain('s3cret');
  });

  test('without stock it waits, looks again, and then says so; nothing was sent', async () => {
    const world = activityWorld();
    let looks = 0;
    world.pods.onListOffers = () => {
      looks++;
      return [anOffer({ stock: 'None' })];
    };
    const outcome = await world.run('createPod', request({ capacityWaitMs: 30 }));
    expect(outcome).toEqual({ kind: 'noCapacity', tried: ['NVIDIA H100 80GB HBM3 (SECURE): no stock'] });
    expect(looks).toBeGreaterThan(1);
    expect(world.pods.creates).toEqual([]);
    expect(world.heartbeats).toContainEqual({ waitingFor: ['NVIDIA H100 80GB HBM3 (SECURE): no stock'] });
  });

  test('takes what comes into stock while it waits', async () => {
    const world = activityWorld();
    let looks = 0;
    world.pods.onListOffers = () => [anOffer({ stock: ++looks > 1 ? 'Low' : 'None' })];
    await expect(world.run('createPod', request({ capacityWaitMs: 20 }))).resolves.toMatchObject({ kind: 'created' });
  });

  test('a catalogue that cannot be read for the moment is read again', async () => {
    const world = activityWorld();
    let looks = 0;
    world.pods.onListOffers = () => {
      if (++looks === 1) throw runPodError('unavailable');
      return [anOffer()];
    };
    await expect(world.run('createPod', request({ capacityWaitMs: 20 }))).resolves.toMatchObject({ kind: 'created' });
  });

  test('a refused key ends the wait at once', async () => {
    const world = activityWorld();
    world.pods.onListOffers = () => {
      throw runPodError('refused', 'Unauthorized');
    };
    expect(await rejection(world.run('createPod', request({ capacityWaitMs: 60_000 })))).toMatchObject({
      type: 'ProviderRefused',
      nonRetryable: true,
    });
  });

  test('an unclear answer is CreateUncertain, and exactly one create was sent', async () => {
    const world = activityWorld();
    world.pods.offers = [anOffer({ gpuTypeId: 'A' }), anOffer({ gpuTypeId: 'B' })];
    world.pods.onCreate = () => {
      throw runPodError('uncertain', 'Timeout');
    };
    const input = request({ capacityWaitMs: 60_000 }, [rung('A'), rung('B')]);
    expect(await rejection(world.run('createPod', input))).toMatchObject({ type: 'CreateUncertain' });
    expect(world.pods.creates).toHaveLength(1);
  });

  test('a cancel while it waits for capacity ends it with nothing created', async () => {
    const world = activityWorld();
    world.pods.offers = [anOffer({ stock: 'None' })];
    world.onHeartbeat((details) => {
      if (details) world.cancel();
    });
    const error = await rejection(world.run('createPod', request({ capacityWaitMs: 60_000 })));
    expect(error).toBeInstanceOf(CancelledFailure);
    expect(world.pods.creates).toEqual([]);
  });

  test('a cancel while the catalogue is read sends no create any more', async () => {
    const world = activityWorld();
    world.pods.onListOffers = () => {
      world.cancel();
      return [anOffer()];
    };
    expect(await rejection(world.run('createPod', request()))).toBeInstanceOf(CancelledFailure);
    expect(world.pods.creates).toEqual([]);
  });

  test('a cancel during a create waits for the answer and hands the lease back', async () => {
    const world = activityWorld();
    const create = world.pods.onCreate;
    world.pods.onCreate = async (sent) => {
      world.cancel();
      await Promise.resolve();
      return create(sent);
    };
    const outcome = await world.run('createPod', request());
    expect(outcome).toMatchObject({ kind: 'created', lease: { podId: 'pod-1' } });
  });

  test('a create that has no turn is ProviderUnavailable, and its details say that it was not sent', async () => {
    const world = activityWorld();
    world.pods.onCreate = () => {
      throw runPodError('unavailable', 'NotSent');
    };
    expect(await rejection(world.run('createPod', request()))).toMatchObject({
      type: 'ProviderUnavailable',
      details: [{ code: 'NotSent' }],
    });
    expect(world.pods.creates).toHaveLength(1);
  });

  test('a cancel takes back a create that waits for its turn', async () => {
    const world = activityWorld();
    const waits = (_sent: unknown, { signal }: CreateOptions): Promise<never> =>
      new Promise((_resolve, reject) => {
        signal?.addEventListener('abort', () => {
          reject(runPodError('unavailable', 'NotSent'));
        });
        world.cancel();
      });
    Object.assign(world.pods, { createPod: waits });
    expect(await rejection(world.run('createPod', request()))).toBeInstanceOf(CancelledFailure);
  });

  test('a pod knows by which API its worker speaks', async () => {
    const world = activityWorld();
    await world.run('createPod', request());
    world.pods.capabilities = { ...world.pods.capabilities, api: 'v2' };
    await world.run('createPod', request());
    expect(world.pods.creates.map(({ env }) => env['ANNEAL_RUNPOD_API'])).toEqual(['graphql', 'v2']);
  });

  test('a cancel during a create that finds no instance does not try the next one', async () => {
    const world = activityWorld();
    world.pods.offers = [anOffer({ gpuTypeId: 'A' }), anOffer({ gpuTypeId: 'B' })];
    world.pods.onCreate = () => {
      world.cancel();
      return { kind: 'noCapacity', message: 'none' };
    };
    expect(await rejection(world.run('createPod', request({}, [rung('A'), rung('B')])))).toBeInstanceOf(
      CancelledFailure,
    );
    expect(world.pods.creates).toHaveLength(1);
  });
});

describe('a holding', () => {
  test('is written with its deadline, a week at most', async () => {
    const { run, registry } = activityWorld();
    const soon = Date.UTC(2020, 0, 1);
    await run('expectHolding', { run: RUN, kind: 'pod', name: 'a', hardDeadlineMs: soon, ...MONEY });
    await run('expectHolding', { run: RUN, kind: 'endpoint', name: 'b', hardDeadlineMs: Infinity, ...MONEY });
    expect(registry.holdings.get('a')).toMatchObject({
      kind: 'pod',
      runId: 'run-1',
      workflowId: 'pipeline/tiny',
      specHash: 'hash',
      hardDeadline: '2020-01-01T00:00:00.000Z',
    });
    const bound = Date.parse(registry.holdings.get('b')?.hardDeadline ?? '');
    expect(bound - Date.now()).toBeGreaterThan(6 * 86_400_000);
    expect(bound - Date.now()).toBeLessThanOrEqual(7 * 86_400_000);
  });

  test('that cannot be written stops the rental', async () => {
    const { run, registry } = activityWorld();
    registry.down = true;
    expect(
      await rejection(run('expectHolding', { run: RUN, kind: 'pod', name: 'a', hardDeadlineMs: 1, ...MONEY })),
    ).toMatchObject({ type: 'RegistryUnavailable', nonRetryable: false });
  });
});

describe('settling an unanswered create', () => {
  const settle = { run: RUN, podName: POD_NAME, quietPeriodMs: 0 };

  test('adopts the oldest pod of this spec and ends its twins and strangers of the name', async () => {
    const { run, pods } = activityWorld();
    pods.add({ id: 'stranger', env: { ANNEAL_SPEC_HASH: 'other' } });
    pods.add({ id: 'dead', desiredStatus: 'TERMINATED' });
    pods.add({ id: 'first' });
    pods.add({ id: 'twin' });
    pods.add({ id: 'neighbour', name: 'anneal-test-other-r20260101-000000' });
    await expect(run('settlePod', settle)).resolves.toMatchObject({ podId: 'first', podName: POD_NAME, tried: [] });
    expect([...pods.terminations].sort()).toEqual(['stranger', 'twin']);
  });

  test('finds nothing by the end of the quiet period, and says so', async () => {
    await expect(activityWorld().run('settlePod', settle)).resolves.toBeNull();
  });

  test('keeps looking for a pod that the list shows late', async () => {
    const { run, pods } = activityWorld();
    const list = pods.listPods.bind(pods);
    let looks = 0;
    pods.listPods = () => {
      if (++looks === 2) pods.add();
      return list();
    };
    await expect(run('settlePod', { ...settle, quietPeriodMs: 20 })).resolves.toMatchObject({ podId: 'pod-1' });
  });
});

describe('waiting for a pod', () => {
  const input = (bootDeadlineMs = 0) => ({
    run: RUN,
    lease: LEASE,
    bootDeadlineMs,
    hardDeadlineMs: DEADLINE_MS,
    hostMemoryGb: 8,
  });

  test('a pod that proves itself is ready, its key pinned, its id confirmed', async () => {
    const { run, pods, ssh, registry } = activityWorld();
    pods.add();
    await run('expectHolding', { run: RUN, kind: 'pod', name: POD_NAME, hardDeadlineMs: 1, ...MONEY });
    await expect(run('waitForPod', input())).resolves.toEqual(READY);
    expect(registry.hostKeys.get(POD_NAME)).toBe(ssh.hostKey.blob);
    expect(registry.holdings.get(POD_NAME)?.providerId).toBe('pod-1');
  });

  test('no secret is sent before the proof', async () => {
    const { run, pods, ssh } = activityWorld();
    pods.add();
    await run('waitForPod', input());
    expect(ssh.commands.every(({ stdin }) => stdin === '' || stdin === 'code')).toBe(true);
    const proof = ssh.commands.findIndex(({ command }) => command.endsWith('prove'));
    expect(ssh.commands.map(({ pinned }) => pinned !== null)).toEqual(ssh.commands.map((_, index) => index > proof));
  });

  test.each([
    ['without an address', null, 'no container yet'],
    ['whose sshd does not answer', READY.address, 'sshd at 10.0.0.1:22 does not answer'],
  ])('a pod %s is not ready at its deadline', async (_what, ssh, seen) => {
    const world = activityWorld();
    world.pods.add({ ssh });
    world.ssh.onConnect = () => {
      throw new SshError('refused', 'connection');
    };
    const error = await rejection(world.run('waitForPod', input(10)));
    expect(error).toMatchObject({ type: 'PodNotReady', message: expect.stringContaining(seen) });
    expect(world.registry.hostKeys.size).toBe(0);
  });

  test('keys that are not in place yet are waited for', async () => {
    const { run, pods, ssh } = activityWorld();
    pods.add();
    let tries = 0;
    ssh.onConnect = () => {
      if (++tries === 1) throw new SshError('no key yet', 'authentication');
    };
    await expect(run('waitForPod', input(20))).resolves.toEqual(READY);
  });

  test('a command that fails on a booting pod is tried again in the same attempt', async () => {
    const { run, pods, ssh } = activityWorld();
    pods.add();
    let writes = 0;
    ssh.onExec = (command) =>
      command.endsWith('/hard-deadline"') && ++writes === 1
        ? { exitCode: 1, stderr: 'Read-only file system' }
        : undefined;
    await expect(run('waitForPod', input(20))).resolves.toEqual(READY);
    expect(writes).toBe(2);
  });

  test('a command that goes on failing is named when the boot deadline is over', async () => {
    const { run, pods, ssh } = activityWorld();
    pods.add();
    ssh.onExec = (command) =>
      command.includes('tar -xf') ? { exitCode: 2, stderr: 'No space left on device' } : undefined;
    expect(await rejection(run('waitForPod', input(10)))).toMatchObject({
      type: 'PodNotReady',
      message: expect.stringContaining('No space left on device'),
    });
  });

  test('a provider that does not answer for the moment is asked again', async () => {
    const { run, pods } = activityWorld();
    const pod = pods.add();
    let asked = 0;
    pods.onGetPod = () => {
      if (++asked === 1) throw runPodError('unavailable');
      return pod;
    };
    await expect(run('waitForPod', input(20))).resolves.toEqual(READY);
  });

  test.each(['0'.repeat(64), '', 'short'])('a wrong proof "%s" is HostKeyMismatch and pins nothing', async (mac) => {
    const { run, pods, ssh, registry } = activityWorld();
    pods.add();
    ssh.onExec = (command) =>
      command.endsWith('prove')
        ? { stdout: JSON.stringify({ type: 'proof', protocol: 1, macs: { 'ssh-ed25519': mac } }) }
        : undefined;
    const error = await rejection(run('waitForPod', input(60_000)));
    expect(error).toMatchObject({ type: 'HostKeyMismatch', nonRetryable: true });
    expect(registry.hostKeys.size).toBe(0);
  });

  test('a proof for another algorithm than the one that answered does not count', async () => {
    const { run, pods, ssh } = activityWorld();
    pods.add();
    const macs = { 'ssh-rsa': ssh.macOf(POD_NAME) };
    ssh.onExec = (command) =>
      command.endsWith('prove') ? { stdout: JSON.stringify({ type: 'proof', protocol: 1, macs }) } : undefined;
    expect(await rejection(run('waitForPod', input(60_000)))).toMatchObject({ type: 'HostKeyMismatch' });
  });

  test.each(['EXITED', 'TERMINATED', 'DEAD'] as const)('a pod that is %s is gone, not late', async (desiredStatus) => {
    const { run, pods } = activityWorld();
    pods.add({ desiredStatus });
    expect(await rejection(run('waitForPod', input(60_000)))).toMatchObject({ type: 'PodGone', nonRetryable: true });
  });

  test('a pod the provider does not know is gone', async () => {
    const error = await rejection(activityWorld().run('waitForPod', input(60_000)));
    expect(error).toMatchObject({ type: 'PodGone' });
  });

  test('a cancel ends the wait at once', async () => {
    const world = activityWorld();
    world.pods.add({ ssh: null });
    world.pods.onGetPod = (id) => {
      world.cancel();
      return world.pods.pods.get(id) ?? null;
    };
    expect(await rejection(world.run('waitForPod', input(60_000)))).toBeInstanceOf(CancelledFailure);
  });
});

describe('parking a pod', () => {
  const podId = 'pod-1';

  test('a stop returns once the provider says so, with what the volume costs; a repeat says the same', async () => {
    const { run, pods } = activityWorld();
    pods.add();
    await expect(run('stopPod', { podId })).resolves.toEqual({ ratePerHour: stoppedDiskRate(10) });
    await expect(run('stopPod', { podId })).resolves.toEqual({ ratePerHour: stoppedDiskRate(10) });
    expect(pods.pods.get(podId)?.desiredStatus).toBe('EXITED');
    expect(pods.stops).toEqual([podId]);
  });

  test('a start returns once the provider says so; a running pod counts as started', async () => {
    const { run, pods } = activityWorld();
    pods.add({ desiredStatus: 'EXITED' });
    await expect(run('startPod', { podId })).resolves.toEqual({ kind: 'started' });
    await expect(run('startPod', { podId })).resolves.toEqual({ kind: 'started' });
    expect(pods.starts).toEqual([podId]);
  });

  test('a GPU that somebody else has rented is an outcome', async () => {
    const { run, pods } = activityWorld();
    pods.add({ desiredStatus: 'EXITED' });
    pods.onStart = () => ({ kind: 'noCapacity', message: 'not enough free GPUs' });
    await expect(run('startPod', { podId })).resolves.toEqual({ kind: 'noCapacity' });
  });

  test('a provider that fails for the moment is asked again', async () => {
    const { run, pods } = activityWorld();
    pods.add();
    const stop = pods.onStop;
    pods.onStop = (id) => {
      if (pods.stops.length === 1) throw runPodError('unavailable');
      stop(id);
    };
    await expect(run('stopPod', { podId })).resolves.toMatchObject({ ratePerHour: stoppedDiskRate(10) });
    expect(pods.stops).toHaveLength(2);
  });

  test.each(['stopPod', 'startPod'] as const)('%s of a pod that is gone is PodGone', async (name) => {
    const world = activityWorld();
    expect(await rejection(world.run(name, { podId }))).toMatchObject({ type: 'PodGone', nonRetryable: true });
    world.pods.add({ desiredStatus: 'TERMINATED' });
    expect(await rejection(world.run(name, { podId }))).toMatchObject({ type: 'PodGone', nonRetryable: true });
    expect([world.pods.stops, world.pods.starts]).toEqual([[], []]);
  });

  test('a pod that goes between the look and the request is PodGone too', async () => {
    const { run, pods } = activityWorld();
    pods.add();
    pods.onStop = (id) => {
      pods.pods.delete(id);
      throw runPodError('refused', 'NotFound');
    };
    expect(await rejection(run('stopPod', { podId }))).toMatchObject({ type: 'PodGone' });
  });

  test('an account without money cannot start a pod, and is told at once', async () => {
    const { run, pods } = activityWorld();
    pods.add({ desiredStatus: 'EXITED' });
    pods.onStart = () => {
      throw runPodError('refused', 'InsufficientBalance');
    };
    expect(await rejection(run('startPod', { podId }))).toMatchObject({ type: 'ProviderRefused', nonRetryable: true });
  });

  test('a cancel ends the wait for a pod that does not stop', async () => {
    const { run, pods, cancel } = activityWorld();
    pods.add();
    pods.onStop = cancel;
    expect(await rejection(run('stopPod', { podId }))).toBeInstanceOf(CancelledFailure);
  });
});

describe('releasing pods', () => {
  const release = (podNames = [POD_NAME], knownIds: string[] = []) => ({ run: RUN, podNames, knownIds });

  test('absent counts as done', async () => {
    const { run, pods } = activityWorld();
    await expect(run('releasePods', release([POD_NAME], ['pod-9']))).resolves.toEqual({ ended: [] });
    // An answered id is asked to go once even when no read shows it: reads lag behind creates.
    expect(pods.terminations).toEqual(['pod-9']);
  });

  test('every pod of a name is ended, also one that only its id finds; neighbours stay', async () => {
    const { run, pods } = activityWorld();
    pods.add({ id: 'a' });
    pods.add({ id: 'b' });
    pods.add({ id: 'c', name: 'renamed' });
    pods.add({ id: 'd', name: 'anneal-test-other-r20260101-000000' });
    const { ended } = await run('releasePods', release([POD_NAME], ['c']));
    expect(ended.map(({ podId, podName }) => `${podId} ${podName}`)).toEqual([
      `a ${POD_NAME}`,
      `b ${POD_NAME}`,
      'c renamed',
    ]);
    expect([...pods.pods.keys()]).toEqual(['d']);
  });

  test('pods that are gone by their status count as gone', async () => {
    const { run, pods } = activityWorld();
    pods.add({ desiredStatus: 'TERMINATED' });
    await expect(run('releasePods', release())).resolves.toEqual({ ended: [] });
  });

  test('what was ended is said with what it cost: GPU and disks, or the volume of a stopped pod', async () => {
    const { run, pods } = activityWorld();
    pods.add({ id: 'running' });
    pods.add({ id: 'stopped', desiredStatus: 'EXITED' });
    await expect(run('releasePods', release())).resolves.toEqual({
      ended: [
        { podId: 'running', podName: POD_NAME, ratePerHour: addUsd(fromUsd(3.6), runningDiskRate(20, 10)) },
        { podId: 'stopped', podName: POD_NAME, ratePerHour: stoppedDiskRate(10) },
      ],
    });
  });

  test('what an earlier attempt saw alive is said, though it is gone by now', async () => {
    const first = activityWorld();
    first.pods.add();
    first.pods.onTerminate = () => {
      throw runPodError('unavailable');
    };
    await rejection(first.run('releasePods', release()));
    const second = activityWorld({ attempt: 2, heartbeatDetails: first.heartbeats.at(-1) });
    await expect(second.run('releasePods', release())).resolves.toMatchObject({ ended: [{ podId: 'pod-1' }] });
  });

  test('reads that fail do not keep an answered id rented', async () => {
    const { run, pods } = activityWorld();
    pods.listPods = () => Promise.reject(runPodError('unavailable'));
    expect(await rejection(run('releasePods', release([POD_NAME], ['pod-9'])))).toMatchObject({
      type: 'ProviderUnavailable',
    });
    expect(pods.terminations).toEqual(['pod-9']);
  });

  test('returns only when the list no longer shows the pod', async () => {
    const { run, pods } = activityWorld();
    pods.add();
    pods.lingersFor = 1;
    await run('releasePods', release());
    expect(pods.pods.size).toBe(0);
    expect(pods.terminations.length).toBeGreaterThan(1);
  });

  test('one pod that the provider refuses to end does not keep the others running', async () => {
    const { run, pods } = activityWorld();
    pods.add({ id: 'stubborn' });
    pods.add({ id: 'other' });
    pods.onTerminate = (id) => {
      if (id === 'stubborn') throw runPodError('unavailable');
    };
    expect(await rejection(run('releasePods', release()))).toMatchObject({ type: 'ProviderUnavailable' });
    expect(pods.terminations).toContain('other');
  });

  test('holdings are released, and a registry that is down does not hold up the end', async () => {
    const { run, pods, registry } = activityWorld();
    await run('expectHolding', { run: RUN, kind: 'pod', name: POD_NAME, hardDeadlineMs: 1, ...MONEY });
    pods.add();
    registry.down = true;
    await expect(run('releasePods', release())).resolves.toMatchObject({ ended: [{ podId: 'pod-1' }] });
    registry.down = false;
    await run('releasePods', release());
    expect(registry.holdings.get(POD_NAME)?.goneAt).not.toBeNull();
  });
});
