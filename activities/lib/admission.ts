import type { PodRequestInput } from '../../contract/activities.ts';
import type { MicroUsd } from '../../contract/units.ts';
import { addUsd, formatUsd, subtractUsd, ZERO_USD } from '../../domain/money.ts';
import { RegistryError } from '../../services/registry/errors.ts';
import { RunPodError } from '../../services/runpod/errors.ts';
import type { ActivityDependencies } from '../dependencies.ts';

type Dependencies = Pick<ActivityDependencies, 'pods' | 'registry'>;

/** What the account and other runs leave to a run that wants to rent now. */
export interface Room {
  /** null = not known, so nothing speaks against it. */
  balance: MicroUsd | null;
  /** Of the hourly limit, after what is rented and what other runs have asked for. */
  perHour: MicroUsd | null;
  /** What other runs may still spend until their caps. */
  promised: MicroUsd;
  /** What this run may still spend. */
  remaining: MicroUsd;
}

/**
 * Reads what is left. Runs count in the order in which they expected their pod, so that of two which ask at once one is
 * admitted. What cannot be read does not hold a run up: RunPod itself refuses what an account cannot pay.
 */
export async function readRoom(
  { pods, registry }: Dependencies,
  { podName, remaining }: Pick<PodRequestInput, 'podName' | 'remaining'>,
): Promise<Room> {
  const [account, promised] = await Promise.all([
    pods.account().catch(unlessBug(RunPodError)),
    registry.promisedBefore(podName).catch(unlessBug(RegistryError)),
  ]);
  const { balance = null, spendPerHour = null, spendLimitPerHour = null } = account ?? {};
  const underWay = promised?.ratePerHourMicroUsd ?? ZERO_USD;
  const known = spendLimitPerHour !== null && spendPerHour !== null;
  return {
    balance,
    perHour: known ? subtractUsd(spendLimitPerHour, addUsd(spendPerHour, underWay)) : null,
    promised: promised?.untilCapsMicroUsd ?? ZERO_USD,
    remaining,
  };
}

const unlessBug =
  (known: new (...args: never[]) => Error) =>
  (error: unknown): undefined => {
    if (!(error instanceof known)) throw error;
    return undefined;
  };

/**
 * Why a pod of that price may not be rented now; undefined when it may. RunPod asks for one hour in advance. Beside other
 * runs this one must fit in whole: a balance that ends takes the pods of all of them.
 */
export function whyNoRoom({ balance, perHour, promised, remaining }: Room, pricePerHour: MicroUsd): string | undefined {
  if (balance !== null && balance < pricePerHour) {
    return `the balance of ${formatUsd(balance)} does not cover one hour at ${formatUsd(pricePerHour)}`;
  }
  if (perHour !== null && perHour < pricePerHour) {
    return `the account's hourly limit leaves ${formatUsd(Math.max(0, perHour) as MicroUsd)}, ${formatUsd(pricePerHour)} are needed`;
  }
  if (balance !== null && promised > 0 && balance < addUsd(promised, remaining)) {
    return `the balance of ${formatUsd(balance)} is promised to other runs with ${formatUsd(promised)}, and this one may need ${formatUsd(remaining)}`;
  }
  return undefined;
}
