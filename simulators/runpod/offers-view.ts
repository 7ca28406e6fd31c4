import { CPU_FLAVORS, CPU_PRICE_PER_VCPU, DATA_CENTERS, GPUS, type GpuRow, type StockWord } from './catalogue.ts';
import { gpuStock, poolStock, type SimulatorContext } from './context.ts';

interface PriceInput {
  gpuCount?: number | null;
  secureCloud?: boolean | null;
  dataCenterId?: string | null;
  minMemoryInGb?: number | null;
  includeAiApi?: boolean | null;
}
const WORDS = ['High', 'Medium', 'Low'] as const;
const best = (words: readonly StockWord[]) => WORDS.find((word) => words.includes(word)) ?? null;

/** A GPU type, with its lowest price for what the field's input asks. */
export function gpuView(context: SimulatorContext, gpu: GpuRow) {
  return {
    ...gpu,
    manufacturer: 'Nvidia',
    secureCloud: gpu.securePrice !== null,
    communityCloud: gpu.communityPrice !== null,
    securePrice: gpu.securePrice ?? 0,
    communityPrice: gpu.communityPrice ?? 0,
    maxGpuCountCommunityCloud: gpu.communityPrice === null ? 0 : gpu.maxGpuCount,
    maxGpuCountSecureCloud: gpu.securePrice === null ? 0 : gpu.maxGpuCount,
    lowestPrice: ({ input }: { input?: PriceInput | null }) => lowestPrice(context, gpu, input ?? {}),
  };
}

function lowestPrice(context: SimulatorContext, gpu: GpuRow, input: PriceInput) {
  const clouds =
    input.secureCloud == null
      ? (['SECURE', 'COMMUNITY'] as const)
      : input.secureCloud
        ? (['SECURE'] as const)
        : (['COMMUNITY'] as const);
  const place = input.dataCenterId || undefined;
  const count = input.gpuCount ?? 1;
  const fits = count <= gpu.maxGpuCount && (input.minMemoryInGb ?? 0) <= gpu.hostMemoryGb * count;
  const words = clouds.map((cloud) => gpuStock(context, gpu.id, cloud, place));
  // With `includeAiApi` what serverless has counts as well.
  if (input.includeAiApi && gpu.pool) words.push(poolStock(context, gpu.pool, place));
  const stockStatus = fits ? best(words) : null;
  const prices = clouds
    .map((cloud) => (cloud === 'SECURE' ? gpu.securePrice : gpu.communityPrice))
    .filter((price) => price !== null);
  const price = stockStatus === null || prices.length === 0 ? null : Math.min(...prices);
  return {
    gpuName: gpu.displayName,
    gpuTypeId: gpu.id,
    minimumBidPrice: price === null ? null : price / 2,
    uninterruptablePrice: price,
    minMemory: gpu.hostMemoryGb,
    minVcpu: gpu.vcpu,
    stockStatus,
    availableGpuCounts: stockStatus === null ? [] : Array.from({ length: gpu.maxGpuCount }, (_, index) => index + 1),
    totalCount: stockStatus === null ? 0 : gpu.maxGpuCount,
    rentedCount: 0,
  };
}

/** A data centre with what it has of each GPU type. */
export function dataCenterView(context: SimulatorContext, id: string) {
  return {
    id,
    name: id,
    location: id.split('-')[0],
    storageSupport: true,
    listed: true,
    compliance: [],
    gpuAvailability: ({ input }: { input?: PriceInput | null }) =>
      GPUS.filter((gpu) => gpu.id !== 'unknown').map((gpu) => {
        const { stockStatus } = lowestPrice(context, gpu, { ...input, dataCenterId: id });
        return {
          id: `${id}/${gpu.id}`,
          gpuTypeId: gpu.id,
          displayName: gpu.displayName,
          gpuTypeDisplayName: gpu.displayName,
          stockStatus,
          available: stockStatus !== null,
        };
      }),
  };
}

/** CPU flavours are never out of stock here. */
export const cpuFlavorViews = () =>
  CPU_FLAVORS.map((id) => ({
    id,
    displayName: id,
    specifics: ({ input }: { input?: { instanceId?: string | null } | null }) => {
      const perHour = Number(input?.instanceId?.split('-')[1] ?? 1) * CPU_PRICE_PER_VCPU;
      return { stockStatus: 'High', securePrice: perHour, slsPrice: perHour };
    },
  }));

export const dataCenterViews = (context: SimulatorContext) => DATA_CENTERS.map((id) => dataCenterView(context, id));
