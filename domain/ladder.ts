import type { LadderRung, Needs } from '../contract/stages.ts';
import type { MicroUsd } from '../contract/units.ts';
import { formatUsd } from './money.ts';

/** A row of the provider's catalogue as the ladder needs it. */
export interface Offer {
  gpuTypeId: string;
  memoryGb: number;
  cloud: 'SECURE' | 'COMMUNITY';
  pricePerHour: MicroUsd;
  stock: LadderRung['stock'];
  hostMemoryGb: number | null;
}

export interface LadderWish {
  gpus: readonly string[];
  clouds: readonly ('SECURE' | 'COMMUNITY')[];
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
      const offer = known.find((candidate) => candidate.cloud === cloud);
      const reason = offer ? whyNot(offer, wish, needs) : 'not offered';
      if (!offer || reason) {
        refused.push(`${gpuTypeId} (${cloud}): ${reason ?? 'not offered'}`);
        continue;
      }
      for (const dataCenterId of wish.dataCenters ?? [null]) {
        rungs.push({ gpuTypeId, cloud, dataCenterId, pricePerHour: offer.pricePerHour, stock: offer.stock });
      }
    }
  }
  return { rungs, refused };
}

function whyNot(offer: Offer, wish: LadderWish, needs: Needs): string | undefined {
  if (offer.memoryGb < needs.vramGb) return `has ${offer.memoryGb} GB of GPU memory, ${needs.vramGb} GB are needed`;
  if (offer.hostMemoryGb !== null && offer.hostMemoryGb < needs.hostMemoryGb) {
    return `comes with about ${offer.hostMemoryGb} GB of host memory, ${needs.hostMemoryGb} GB are needed to quantize`;
  }
  if (wish.maxPricePerHour !== null && offer.pricePerHour > wish.maxPricePerHour) {
    return `costs ${formatUsd(offer.pricePerHour)}/h, above compute.maxUsdPerHour`;
  }
  return undefined;
}
