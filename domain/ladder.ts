import type { LadderRung, Needs } from '../contract/stages.ts';
import type { MicroUsd } from '../contract/units.ts';
import { formatUsd } from './money.ts';

type Cloud = LadderRung['cloud'];

/** A row of the provider's catalogue as the ladder needs it; figures are of one GPU. */
export interface Offer {
  gpuTypeId: string;
  memoryGb: number;
  cloud: Cloud;
  dataCenterId: string | null;
  pricePerHour: MicroUsd;
  stock: LadderRung['stock'];
  hostMemoryGb: number | null;
  maxGpuCount: number | null;
}

export interface LadderWish {
  gpus: readonly string[];
  gpuCount: number;
  clouds: readonly Cloud[];
  dataCenters: readonly string[] | null;
  maxPricePerHour: MicroUsd | null;
}

export interface Ladder {
  rungs: LadderRung[];
  /** Why a wished GPU is not on the ladder, one sentence each. */
  refused: string[];
}

/** Orders what may be rented: the spec's GPU order first, then clouds, then data centres; drops what cannot do the work. */
export function buildLadder(offers: readonly Offer[], wish: LadderWish, needs: Needs): Ladder {
  const rungs: LadderRung[] = [];
  const refused: string[] = [];
  for (const gpuTypeId of wish.gpus) {
    const known = offers.filter((offer) => offer.gpuTypeId === gpuTypeId);
    if (known.length === 0) {
      refused.push(`${gpuTypeId}: not a GPU type of this account's catalogue`);
      continue;
    }
    for (const cloud of wish.clouds) {
      const judged = (wish.dataCenters ?? [null]).map((dataCenterId) => {
        const offer = known.find((row) => row.cloud === cloud && row.dataCenterId === dataCenterId);
        return { dataCenterId, offer, reason: offer ? whyNot(offer, wish, needs) : 'not offered' };
      });
      const taken = judged.flatMap(({ offer, reason }) => (offer && reason === undefined ? [offer] : []));
      rungs.push(...taken.map((offer) => toRung(offer, wish.gpuCount)));
      const reasons = new Set(judged.map(({ reason }) => reason));
      // One sentence where all data centres are refused for the same reason.
      if (taken.length === 0 && reasons.size === 1) refused.push(`${gpuTypeId} (${cloud}): ${judged[0]?.reason ?? ''}`);
      else
        for (const { dataCenterId, reason } of judged) {
          if (reason !== undefined) refused.push(`${gpuTypeId} (${cloud}, ${dataCenterId ?? 'any'}): ${reason}`);
        }
    }
  }
  return { rungs, refused };
}

const toRung = (offer: Offer, gpuCount: number): LadderRung => ({
  gpuTypeId: offer.gpuTypeId,
  gpuCount,
  cloud: offer.cloud,
  dataCenterId: offer.dataCenterId,
  pricePerHour: timesUsd(offer.pricePerHour, gpuCount),
  stock: offer.stock,
  memoryGb: offer.memoryGb * gpuCount,
});

const timesUsd = (price: MicroUsd, count: number): MicroUsd => (price * count) as MicroUsd;

/** Why an offer cannot do the work or may not be taken; undefined when it can and may. */
function whyNot(
  offer: Offer,
  wish: Pick<LadderWish, 'gpuCount' | 'maxPricePerHour'>,
  needs: Needs,
): string | undefined {
  const { gpuCount } = wish;
  const memoryGb = offer.memoryGb * gpuCount;
  const hostMemoryGb = offer.hostMemoryGb === null ? null : offer.hostMemoryGb * gpuCount;
  const price = timesUsd(offer.pricePerHour, gpuCount);
  if (offer.maxGpuCount !== null && gpuCount > offer.maxGpuCount)
    return `has at most ${offer.maxGpuCount} GPUs per pod`;
  if (memoryGb < needs.vramGb) return `has ${memoryGb} GB of GPU memory, ${needs.vramGb} GB are needed`;
  if (hostMemoryGb !== null && hostMemoryGb < needs.hostMemoryGb) {
    return `comes with about ${hostMemoryGb} GB of host memory, ${needs.hostMemoryGb} GB are needed for the model`;
  }
  if (wish.maxPricePerHour !== null && price > wish.maxPricePerHour) {
    return `costs ${formatUsd(price)}/h, above compute.maxUsdPerHour`;
  }
  return undefined;
}

/** What of the whole catalogue could do the work, the cheapest first, in words for a refusal. */
export function alternatives(
  offers: readonly Offer[],
  wish: Pick<LadderWish, 'gpuCount' | 'maxPricePerHour'>,
  needs: Needs,
): string[] {
  const fitting = offers
    .filter((offer) => whyNot(offer, wish, needs) === undefined)
    .sort((a, b) => a.pricePerHour - b.pricePerHour);
  const seen = new Set<string>();
  return fitting.flatMap((offer) => {
    const key = `${offer.gpuTypeId}/${offer.cloud}`;
    if (seen.has(key) || seen.size >= MOST_ALTERNATIVES) return [];
    seen.add(key);
    const count = wish.gpuCount > 1 ? `${wish.gpuCount} × ` : '';
    const host = offer.hostMemoryGb === null ? '' : `, ${offer.hostMemoryGb * wish.gpuCount} GB host`;
    const price = formatUsd(timesUsd(offer.pricePerHour, wish.gpuCount));
    return [`${count}${offer.gpuTypeId} (${offer.cloud}, ${offer.memoryGb * wish.gpuCount} GB${host}, ${price}/h)`];
  });
}

const MOST_ALTERNATIVES = 4;
