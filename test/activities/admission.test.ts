import { describe, expect, test } from '@jest/globals';
import type { PodRequestInput } from '../../contract/activities.ts';
import type { PodPlan } from '../../contract/stages.ts';
import { fromUsd } from '../../domain/money.ts';
import { activityWorld, POD_NAME, RUN, type ActivityWorld } from '../support/fake-ports-activity.ts';
import { runPodError } from '../support/fake-ports.ts';
import { aPlan } from '../support/specs.ts';

/** What keeps a run from renting although GPUs are there: the account, and what other runs have promised. */

const [POD_PLAN] = aPlan().pods as [PodPlan];
const create = (world: ActivityWorld, changes: Partial<PodRequestInput> = {}) =>
  world.run('createPod', {
    run: RUN,
    podName: POD_NAME,
    plan: { ...aPlan(), ...POD_PLAN },
    maxPricePerHour: null,
    remaining: fromUsd(12),
    capacityWaitMs: 0,
    lifetimeMs: 3_600_000,
    ...changes,
  });
const refusal = async (world: ActivityWorld): Promise<string> => {
  const outcome = await create(world);
  expect(world.pods.creates).toEqual([]);
  return outcome.kind === 'noCapacity' ? outcome.tried.join() : '';
};
const worldWith = (funds: Partial<ActivityWorld['pods']['funds']>): ActivityWorld => {
  const world = activityWorld();
  world.pods.funds = { ...world.pods.funds, ...funds };
  return world;
};

describe('nothing is rented', () => {
  test('that the balance does not pay for an hour', async () => {
    expect(await refusal(worldWith({ balance: fromUsd(3.59) }))).toContain('does not cover one hour at $3.6000');
  });

  test('beyond the hourly limit, counting what others have asked for and RunPod does not show yet', async () => {
    const world = worldWith({ spendLimitPerHour: fromUsd(10), spendPerHour: fromUsd(3) });
    world.registry.promised = { ratePerHourMicroUsd: fromUsd(3.5), untilCapsMicroUsd: fromUsd(0) };
    expect(await refusal(world)).toContain("the account's hourly limit leaves $3.5000, $3.6000 are needed");
  });

  test('that would be paid for with what other runs may still need', async () => {
    const world = worldWith({ balance: fromUsd(20) });
    world.registry.promised = { ratePerHourMicroUsd: fromUsd(0), untilCapsMicroUsd: fromUsd(8.5) };
    expect(await refusal(world)).toContain('promised to other runs with $8.5000, and this one may need $12.00');
  });
});

describe('a pod is rented', () => {
  test('at the very limit', async () => {
    const world = worldWith({ balance: fromUsd(20), spendLimitPerHour: fromUsd(10), spendPerHour: fromUsd(3) });
    world.registry.promised = { ratePerHourMicroUsd: fromUsd(3.4), untilCapsMicroUsd: fromUsd(8) };
    expect(await create(world)).toMatchObject({ kind: 'created' });
  });

  test('as soon as there is room: the wait is the one for capacity', async () => {
    const world = worldWith({ balance: fromUsd(1) });
    world.onHeartbeat((details) => {
      if (JSON.stringify(details ?? '').includes('one hour')) world.cancel();
    });
    await expect(create(world, { capacityWaitMs: 60_000 })).rejects.toThrow();
    expect(world.pods.creates).toEqual([]);
    world.pods.funds = { ...world.pods.funds, balance: fromUsd(50) };
    const later = activityWorld({ ports: world });
    expect(await create(later)).toMatchObject({ kind: 'created' });
  });

  test('when account or registry cannot be read: RunPod itself refuses what cannot be paid', async () => {
    const world = activityWorld();
    world.registry.down = true;
    world.pods.account = () => Promise.reject(runPodError('unavailable'));
    expect(await create(world)).toMatchObject({ kind: 'created' });
  });
});
