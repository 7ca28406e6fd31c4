import { fromUsd } from '../../domain/money.ts';
import { gpuTypesAnswerSchema, lowestPriceSchema, type WireGpuType } from '../../contract/wire/runpod-graphql.ts';
import type { Operation } from './documents.ts';
import type { GraphqlCall } from './graphql-call.ts';
import type { Cloud, GpuOffer, OfferQuery, Stock } from './port.ts';

/** All offers in one request: GraphQL prices one cloud and data centre per field, so each combination is an alias. */
export async function readOffers(call: GraphqlCall, query: OfferQuery): Promise<GpuOffer[]> {
  const asked = (query.dataCenterIds ?? [null]).flatMap((dataCenterId) =>
    query.clouds.map((cloud) => ({ cloud, dataCenterId })),
  );
  if (asked.length === 0) return [];
  const input = (cloud: Cloud, dataCenterId: string | null) => ({
    gpuCount: query.gpuCount,
    secureCloud: cloud === 'SECURE',
    ...(dataCenterId === null ? {} : { dataCenterId }),
  });
  const variables = Object.fromEntries(
    asked.map(({ cloud, dataCenterId }, at) => [`input${at}`, input(cloud, dataCenterId)]),
  );
  const { gpuTypes } = await call(gpuOffers(asked.length), variables);
  const known = gpuTypes.filter(({ id }) => id !== 'unknown');
  return asked.flatMap((of, at) => known.flatMap((gpu) => toOffer(gpu, of, `price${at}`)));
}

function gpuOffers(count: number): Operation<Record<string, unknown>, typeof gpuTypesAnswerSchema> {
  const numbers = Array.from({ length: count }, (_, at) => at);
  return {
    name: 'gpuOffers',
    answer: gpuTypesAnswerSchema,
    document: `query gpuOffers(${numbers.map((at) => `$input${at}: GpuLowestPriceInput`).join(', ')}) { gpuTypes {
      id displayName memoryInGb secureCloud communityCloud securePrice communityPrice
      maxGpuCountSecureCloud maxGpuCountCommunityCloud
      ${numbers.map((at) => `price${at}: lowestPrice(input: $input${at}) { stockStatus minMemory }`).join('\n      ')} } }`,
  };
}

/** Nothing for a cloud the type is not offered on: it has no price there. */
function toOffer(
  gpu: WireGpuType,
  { cloud, dataCenterId }: { cloud: Cloud; dataCenterId: string | null },
  alias: string,
): GpuOffer[] {
  const secure = cloud === 'SECURE';
  const price = secure ? gpu.securePrice : gpu.communityPrice;
  if (!(secure ? gpu.secureCloud : gpu.communityCloud) || !price) return [];
  const lowest = lowestPriceSchema.safeParse(gpu[alias]).data;
  return [
    {
      gpuTypeId: gpu.id,
      displayName: gpu.displayName,
      memoryGb: gpu.memoryInGb,
      cloud,
      pricePerHour: fromUsd(price),
      stock: toStock(lowest?.stockStatus),
      dataCenterId,
      hostMemoryGb: lowest?.minMemory ?? null,
      maxGpuCount: (secure ? gpu.maxGpuCountSecureCloud : gpu.maxGpuCountCommunityCloud) ?? null,
    },
  ];
}

const STOCK_WORDS: readonly Stock[] = ['High', 'Medium', 'Low', 'None'];
/** In any case of letters; an absent or unknown word counts as no stock: a create would be refused, not mispriced. */
export const toStock = (word: string | null | undefined): Stock =>
  STOCK_WORDS.find((stock) => stock.toLowerCase() === word?.toLowerCase()) ?? 'None';
