import { randomBytes } from 'node:crypto';
import type { LivePlan, LiveRung } from '../contract/live-checks.ts';
import { releaseLabel, rentedName } from '../contract/names.ts';
import { formatMs } from '../domain/duration.ts';
import { runningDiskRate, stoppedDiskRate } from '../domain/disk-prices.ts';
import { addUsd, costOf, durationFor, formatUsd, ZERO_USD, type MicroUsd } from '../domain/money.ts';
import type { Account, GpuOffer, OfferQuery } from '../services/runpod/port.ts';
import type { LiveDependencies } from './live.ts';

export interface LiveOptions {
  maxUsd: MicroUsd;
  /** Where the repository is made; null = the token's own name. */
  namespace: string | null;
}

/** The model name under which everything is rented, so that `anneal sweep` knows it as this installation's. */
const LIVE_NAME = 'live';
/** The smallest that both APIs take. */
const CONTAINER_DISK_GB = 10;
const VOLUME_GB = 10;
/** Of the limit, for GPU and disks of the pod; the rest is for what nobody can foresee. */
const SHARE = 0.8;
/** A pod needs this long when its image is not on the host yet. */
const SHORTEST_POD_MS = 6 * 60_000;
const LONGEST_POD_MS = 20 * 60_000;
/** Stock words lie; the next dearer type is asked when one has nothing. */
const MOST_RUNGS = 5;

/** One GPU of the secure cloud, wherever there is one. */
export const OFFERS: OfferQuery = { clouds: ['SECURE'], dataCenterIds: null, gpuCount: 1 };

/**
 * Reads account, offers and token, and says what a check would rent, for how long and for how much at most. Changes
 * nothing. Refusals are in the plan; a provider that does not answer rejects with its own error.
 */
export async function planLiveChecks(
  deps: LiveDependencies,
  urls: { runpodUrl: string; hubUrl: string },
  { maxUsd, namespace }: LiveOptions,
): Promise<LivePlan> {
  const { pods, hub, settings } = deps;
  const [account, offers, identity] = await Promise.all([pods.account(), pods.listOffers(OFFERS), hub.whoAmI()]);
  const { rungs, refusals } = chooseRungs(offers, account, maxUsd);
  const release = releaseLabel(Date.now());
  return {
    api: pods.capabilities.api,
    ...urls,
    name: rentedName({ installation: settings.installation, name: LIVE_NAME, release, attempt: 1 }),
    repo: `${namespace ?? identity.name}/anneal-live-check-${randomBytes(5).toString('hex')}`,
    image: settings.podImage,
    containerDiskGb: CONTAINER_DISK_GB,
    volumeGb: VOLUME_GB,
    maxUsd,
    rungs,
    worstCase: rungs.reduce<MicroUsd>((most, { ratePerHour, boundMs }) => {
      const cost = costOf(ratePerHour, boundMs);
      return cost > most ? cost : most;
    }, ZERO_USD),
    stoppedPerHour: stoppedDiskRate(VOLUME_GB),
    refusals,
  };
}

/** How long a pod of this rate may live. */
export const boundFor = (maxUsd: MicroUsd, ratePerHour: MicroUsd): number =>
  Math.min(LONGEST_POD_MS, durationFor(Math.floor(maxUsd * SHARE) as MicroUsd, ratePerHour));

export function chooseRungs(
  offers: readonly GpuOffer[],
  account: Account,
  maxUsd: MicroUsd,
): { rungs: LiveRung[]; refusals: string[] } {
  const inStock = offers
    .filter(({ cloud, stock, pricePerHour }) => cloud === 'SECURE' && stock !== 'None' && pricePerHour > 0)
    .map(({ gpuTypeId, pricePerHour }): LiveRung => {
      const ratePerHour = addUsd(pricePerHour, runningDiskRate(CONTAINER_DISK_GB, VOLUME_GB));
      return { gpuTypeId, pricePerHour, ratePerHour, boundMs: boundFor(maxUsd, ratePerHour) };
    })
    .sort((a, b) => a.pricePerHour - b.pricePerHour);
  const cheapest = inStock[0];
  if (!cheapest) return { rungs: [], refusals: ['no GPU of the secure cloud is in stock now'] };
  const fits = ({ boundMs }: LiveRung): boolean => boundMs >= SHORTEST_POD_MS;
  const refusals = [...(fits(cheapest) ? [] : [tooLittle(cheapest, maxUsd)]), ...whyAccountRefuses(cheapest, account)];
  const payable = ({ pricePerHour }: LiveRung): boolean => account.balance === null || pricePerHour <= account.balance;
  const rungs = inStock.filter((rung) => fits(rung) && payable(rung)).slice(0, MOST_RUNGS);
  return { rungs: refusals.length > 0 ? [] : rungs, refusals };
}

function tooLittle({ gpuTypeId, pricePerHour, ratePerHour, boundMs }: LiveRung, maxUsd: MicroUsd): string {
  const cents = Math.ceil(costOf(ratePerHour, SHORTEST_POD_MS) / SHARE / 10_000);
  return (
    `${formatUsd(maxUsd)} is too little: the cheapest GPU in stock (${gpuTypeId}, ${formatUsd(pricePerHour)} an hour, ` +
    `${formatUsd(ratePerHour)} with disks) could be kept for ${formatMs(boundMs)}, and a check may need ` +
    `${formatMs(SHORTEST_POD_MS)}; --max-usd ${(cents / 100).toFixed(2)} is enough`
  );
}

/** RunPod's own rules for a create: an hour's cost in the balance, and the limit on everything rented. */
function whyAccountRefuses({ pricePerHour, ratePerHour }: LiveRung, account: Account): string[] {
  const { balance, spendPerHour, spendLimitPerHour } = account;
  const reasons: string[] = [];
  if (balance !== null && balance < pricePerHour) {
    reasons.push(
      `the balance is ${formatUsd(balance)}; RunPod asks for an hour's cost of a pod, ${formatUsd(pricePerHour)}, though a check takes minutes`,
    );
  }
  if (spendLimitPerHour !== null && (spendPerHour ?? 0) + ratePerHour > spendLimitPerHour) {
    reasons.push(
      `${formatUsd(spendPerHour ?? ZERO_USD)} an hour is rented already; with this pod the account's limit of ${formatUsd(spendLimitPerHour)} an hour would be passed`,
    );
  }
  return reasons;
}
