import { wireV2GpusSchema, type WireV2Gpu } from '../../../contract/wire/runpod-v2.ts';
import { fromUsd } from '../../../domain/money.ts';
import { toStock } from '../offers.ts';
import type { Cloud, GpuOffer, OfferQuery } from '../port.ts';
import type { RestCall } from './rest-call.ts';

/** One request per cloud: the catalogue tells the stock of every data centre beside the overall one. */
export async function readOffers(call: RestCall, query: OfferQuery): Promise<GpuOffer[]> {
  const { clouds, dataCenterIds, gpuCount } = query;
  const ofCloud = await Promise.all(
    clouds.map(async (cloud) => {
      const search = new URLSearchParams({
        include: 'AVAILABILITY',
        product: 'POD',
        count: String(gpuCount),
        cloud,
      });
      const path = `/catalog/gpus?${search.toString()}`;
      const { gpus } = await call.json({ operation: 'listGpus', method: 'GET', path, isBase: true }, wireV2GpusSchema);
      return gpus.flatMap((gpu) => toOffers(gpu, cloud, dataCenterIds ?? [null]));
    }),
  );
  return ofCloud.flat();
}

/** Nothing for a cloud the type is not offered on: it has no price there. */
function toOffers(gpu: WireV2Gpu, cloud: Cloud, dataCenterIds: readonly (string | null)[]): GpuOffer[] {
  const key = cloud === 'SECURE' ? 'secure' : 'community';
  const price = gpu.price[key];
  if (gpu.id === 'unknown' || !gpu[key] || !price) return [];
  return dataCenterIds.map((dataCenterId) => ({
    gpuTypeId: gpu.id,
    displayName: gpu.name,
    memoryGb: gpu.memory,
    cloud,
    pricePerHour: fromUsd(price),
    stock: toStock(
      dataCenterId === null ? gpu.availability : gpu.dataCenters?.find(({ id }) => id === dataCenterId)?.availability,
    ),
    dataCenterId,
    // The catalogue does not tell; what a pod got is checked once it has booted.
    hostMemoryGb: null,
    maxGpuCount: gpu.maxCount?.[key] ?? null,
  }));
}
