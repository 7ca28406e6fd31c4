import { expect, test } from '@jest/globals';
import type { PodPlan, ReadyPod } from '../../contract/stages.ts';
import { SshError } from '../../services/ssh/errors.ts';
import { aPlan } from '../support/specs.ts';
import { activityWorld, MONEY, POD_NAME, READY, rejection, RUN, without } from '../support/fake-ports-activity.ts';

const HOUR = 3_600_000;

/** A pod that has proven itself, with an hour to live. */
async function heldPod() {
  const world = activityWorld();
  world.pods.add();
  const hardDeadlineMs = Date.now() + HOUR;
  await world.run('expectHolding', {
    run: RUN,
    kind: 'pod',
    name: POD_NAME,
    hardDeadlineMs: Date.now() + 1_000,
    ...MONEY,
  });
  await world.run('waitForPod', {
    run: RUN,
    lease: without(READY, 'address'),
    bootDeadlineMs: 0,
    hardDeadlineMs,
    hostMemoryGb: 8,
  });
  return { ...world, deadline: () => Date.parse(world.registry.holdings.get(POD_NAME)?.hardDeadline ?? '') };
}
const writes = (world: { ssh: { commands: { command: string; pinned: string | null }[] } }) =>
  world.ssh.commands.filter(({ command }) => command.endsWith('/hard-deadline"'));

const moveTo = (pod: ReadyPod | null, names: string[] = []) => ({
  run: RUN,
  names,
  pod,
  hardDeadlineMs: Date.now() + 5 * HOUR,
});

test('a created pod carries its switch and deadlines, the longest life among them', async () => {
  const world = activityWorld();
  const [pod] = aPlan().pods as [PodPlan];
  const plan = { ...aPlan(), ...pod };
  const money = { maxPricePerHour: null, remaining: MONEY.remaining };
  const input = { run: RUN, podName: POD_NAME, plan, ...money, capacityWaitMs: 0 };
  await world.run('createPod', { ...input, lifetimeMs: HOUR });
  expect(world.pods.creates).toMatchObject([
    {
      startCommand: expect.stringContaining('python3 -c "$ANNEAL_DEADMAN"'),
      env: {
        ANNEAL_BOOT_DEADLINE_SECONDS: '2700',
        ANNEAL_LEASE_SECONDS: '7200',
        ANNEAL_HARD_DEADLINE_SECONDS: '3600',
        ANNEAL_DEADMAN: expect.stringContaining('deadman'),
      },
    },
  ]);
});

test('a pod that proves itself gets its exact deadline, in the database and over the pinned connection', async () => {
  const world = await heldPod();
  expect(world.deadline() - Date.now()).toBeGreaterThan(HOUR - 60_000);
  expect(writes(world)).toMatchObject([{ pinned: world.ssh.hostKey.blob }]);
  expect(world.registry.holdings.get(POD_NAME)?.providerId).toBe('pod-1');
});

test('a moved deadline reaches the database and the pod', async () => {
  const world = await heldPod();
  await world.run('moveDeadline', moveTo(READY));
  expect(world.deadline() - Date.now()).toBeGreaterThan(4 * HOUR);
  expect(writes(world)).toHaveLength(2);
  expect(world.registry.holdings.get(POD_NAME)).toMatchObject({ providerId: 'pod-1', goneAt: null });
});

test('a pod that cannot be reached has its deadline moved in the database all the same', async () => {
  const world = await heldPod();
  world.ssh.onConnect = () => {
    throw new SshError('refused', 'connection');
  };
  const error = await rejection(world.run('moveDeadline', moveTo(READY)));
  expect(error).toMatchObject({ type: 'SshUnreachable' });
  expect(world.deadline() - Date.now()).toBeGreaterThan(4 * HOUR);
});

test('a pod that was given back is not held again', async () => {
  const world = await heldPod();
  await world.registry.releaseHolding(POD_NAME, new Date().toISOString());
  const before = world.deadline();
  await world.run('moveDeadline', moveTo(READY));
  expect(world.deadline()).toBe(before);
  expect(world.registry.holdings.get(POD_NAME)?.goneAt).not.toBeNull();
  expect(writes(world)).toHaveLength(1);
});

test('what else the run holds moves too, as long as it is open; without a pod nobody is spoken to', async () => {
  const world = await heldPod();
  const old = Date.now() + HOUR;
  for (const name of ['endpoint', 'given-back'])
    await world.run('expectHolding', { run: RUN, kind: 'endpoint', name, hardDeadlineMs: old, ...MONEY });
  await world.registry.releaseHolding('given-back', new Date().toISOString());
  await world.run('moveDeadline', moveTo(null, ['endpoint', 'given-back', POD_NAME]));
  const deadlines = ['endpoint', 'given-back', POD_NAME].map((name) =>
    Date.parse(world.registry.holdings.get(name)?.hardDeadline ?? ''),
  );
  expect(deadlines.map((at) => at > old + HOUR)).toEqual([true, false, true]);
  expect(world.registry.holdings.get('given-back')?.goneAt).not.toBeNull();
  expect(writes(world)).toHaveLength(1);
});

test('a deadline that the database does not take is not written into the pod either', async () => {
  const world = await heldPod();
  world.registry.down = true;
  expect(await rejection(world.run('moveDeadline', moveTo(READY, [POD_NAME])))).toMatchObject({
    type: 'RegistryUnavailable',
    nonRetryable: false,
  });
  expect(writes(world)).toHaveLength(1);
});
